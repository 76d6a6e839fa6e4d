"""Folder of a trained model in the layout of the Hugging Face hub: model.safetensors, config.json and a model card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors.torch
import torch
from torch import Tensor

from engine.model_card import model_card
from tools import VERSION, ToolError, first_line
from tools.checkpoint import FORMAT, read_file, upgraded
from tools.checkpoint_content import brief, check_content, is_finite
from tools.files import read_json, writable_folder, write_atomically

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
# Of train_config, which also has folders of the user. For the same reason names of pictures are left out, except of
# those that a fold holds out, and so is the file of --groups.
STORED = ("lambda_value", "power")


def save_folder(
    folder: str | Path, state: Mapping[str, Any], weights: Mapping[str, Tensor], *, half: bool, licence: str,
    about: str, results: Mapping[str, Any],
) -> Path:  # fmt: skip
    """Write a trained model; :func:`read_folder` reads it.

    Args:
        folder: is created; files of these three names in it are replaced.
        state: ``model_config``, ``data_config``, ``train_config`` and ``epoch`` of the model.
        weights: state dict of the model.
        half: store floating-point weights in half precision (float16).
        licence, about: see :func:`engine.model_card.model_card`.
        results: content of results.json; empty if unknown.

    Raises:
        ToolError: a file cannot be written, or a weight is too large for half precision.
    """
    stored = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    if half:
        stored = {name: value.half() if value.is_floating_point() else value for name, value in stored.items()}
        if large := [name for name, value in stored.items() if not is_finite(value)]:
            raise ToolError(f"{large[0]} has weights beyond the range of half precision: leave half out")
    train = {name: state["train_config"][name] for name in STORED}
    data = {name: value for name, value in state["data_config"].items() if name != "held_out"}
    if fold := data.get("cross_validation"):
        data["cross_validation"] = {name: value for name, value in fold.items() if name != "groups"}
    config = {"format": FORMAT, "version": VERSION, "model_config": state["model_config"],
              "data_config": data, "train_config": train, "epoch": state["epoch"]}  # fmt: skip
    card = model_card(config, results=results, licence=licence, about=about)
    folder = writable_folder(folder)
    write_atomically(folder / WEIGHTS, safetensors.torch.save(stored, metadata={"format": "pt"}))
    write_atomically(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    write_atomically(folder / CARD, card.encode(errors="backslashreplace"))
    return folder


def read_folder(name: str | Path, *, revision: str | None = None) -> tuple[Path, dict[str, Any]]:
    """Read a model from a folder or, if there is no folder of this name, from the Hugging Face hub.

    Args:
        name: the folder, or a repository of the hub, ``user/model``.
        revision: branch, tag or commit of the repository; None for its main branch.

    Returns:
        Path of the weights, and the content of a checkpoint, weights in single precision.

    Raises:
        ToolError: neither exists, the hub cannot be reached, or a file is missing, damaged or has a wrong entry.
    """
    folder = Path(name) if Path(name).is_dir() else _downloaded(str(name), revision)
    path = folder / CONFIG
    try:
        config = read_json(path)
    except OSError as error:
        raise ToolError(
            f"{path} cannot be read ({error.strerror}): give a folder that save_pretrained wrote"
        ) from error
    missing = [key for key in ("format", "model_config", "data_config", "train_config", "epoch")
               if key not in (config or {})]  # fmt: skip
    if config is None or missing or config["format"] != FORMAT:
        fault = f"it has no {', '.join(missing)}" if missing else f"its format is not {FORMAT}"
        raise ToolError(f"{path}: {fault}; give a folder that save_pretrained wrote")
    weights = read_file(folder / WEIGHTS)
    state = upgraded({**config, "model": {key: value.float() if value.dtype == torch.float16 else value
                                          for key, value in weights.items()}}, path)  # fmt: skip
    check_content(state, path)
    return folder / WEIGHTS, state


def _downloaded(name: str, revision: str | None) -> Path:
    """Folder of a repository of the hub in the local cache; without a connection the state that is already there."""
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=[WEIGHTS, CONFIG]))
    except (OSError, ValueError, RuntimeError) as error:  # of the client: no answer, no repository, no valid name
        reason = f"cannot be read from the Hugging Face hub ({first_line(error)})"
        raise ToolError(f"{brief(name)} is no folder, and {reason}: give a folder of save_pretrained") from error

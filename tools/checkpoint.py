"""Checkpoints: written whole or not at all, read without executing anything in them."""

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tools import VERSION, ToolError
from tools.files import atomic_file
from tools.original_checkpoint import from_published, upgrade

FORMAT = "scouter-2"
READABLE = ("scouter-1", FORMAT)  # scouter-1 has older names, see tools/original_checkpoint.py
REQUIRED = ("model_config", "data_config", "train_config", "model", "epoch")


def run_name(
    dataset: str, *, use_slot: bool, loss_status: int, area_of: tuple[float, int] | None = None
) -> str:  # fmt: skip
    """The name of a run, as in the published code: ``<dataset>_use_slot_negative`` and its kin.

    Args:
        dataset: name of the dataset.
        use_slot: False for the plain classifier.
        loss_status: -1 for a negative model.
        area_of: lambda_value and slots_per_class where they belong into the name (``--cal_area_size true``).
    """
    name = f"{dataset}_use_slot" if use_slot else f"{dataset}_no_slot"
    if use_slot and loss_status != 1:
        name += "_negative"
    if area_of is not None:
        name += f"_for_area_size_{float(area_of[0])}_{area_of[1]}"
    return name


def checkpoint_path(folder: str | Path, run: str, suffix: str = "") -> Path:
    """``<folder>/<run>_checkpoint<suffix>.pth``."""
    return Path(folder) / f"{run}_checkpoint{suffix}.pth"


def run_of(path: Path) -> str:
    """The run that a checkpoint's name tells of, with what sets a numbered or best copy apart."""
    return path.stem.replace("_checkpoint", "")


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Save plain types and tensors, whole or not at all."""
    try:
        with atomic_file(path) as file:
            torch.save({**content, "format": FORMAT, "version": VERSION}, file)
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        raise ToolError(f"{path} cannot be written ({_first_line(error)}); what it held before stays") from error


def save_epoch(
    folder: str | Path, run: str, content: Mapping[str, Any], *, best: bool, numbered: bool
) -> None:  # fmt: skip
    """Save the state after an epoch: always as the last one, and as the best and a numbered one where it is.

    The number has four digits and counts from zero, as in the published code.
    """
    suffixes = ["_best"] if best else []
    suffixes += [f"{content['epoch']:04}"] if numbered else []
    for suffix in (*suffixes, ""):
        save(checkpoint_path(folder, run, suffix), content)


def read_file(path: str | Path) -> Any:
    """Read a PyTorch or .safetensors file; only tensors, plain types and an argparse Namespace are let in.

    Raises:
        ToolError: the file is missing, damaged, no such file at all, or would execute something.
    """
    path = Path(path)
    if not path.is_file():
        raise ToolError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # A Namespace is set up attribute by attribute, without running code; the published code saves one.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unreadable(path, error, refused="nsupported" in str(error)) from error
    except Exception as error:  # what a damaged file makes torch and pickle raise is without number
        raise _unreadable(path, error) from error


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a weight file, out of the containers that people put around them.

    Raises:
        ToolError: see :func:`read_file`; or there is no state dict in it.
    """
    state = read_file(path)
    for container in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(container), dict):
            state = state[container]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ToolError(f"{path}: no state dict (names and tensors) in it")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project, or one of the published code translated to it.

    Returns:
        ``model_config``, ``data_config``, ``train_config``, ``model``, ``epoch`` and, where it was saved by
        this project, ``optimizer``, ``scheduler``, ``metrics``, ``best_top1``.

    Raises:
        ToolError: see :func:`read_file`; or it is something else than a checkpoint.
    """
    content = read_file(path)
    if isinstance(content, dict) and content.get("format") in READABLE:
        missing = [key for key in REQUIRED if key not in content]
        if missing:
            raise ToolError(f"{path}: not a whole checkpoint, it has no {', '.join(missing)}")
        content["model_config"], content["model"] = upgrade(content["model_config"], content["model"])
        if "left" in content:
            content["stopped"] = content.pop("left")
        if "raw_model" in content:
            _, content["raw_model"] = upgrade(content["model_config"], content["raw_model"])
        return content
    if isinstance(content, dict) and "model" in content and isinstance(content.get("args"), argparse.Namespace):
        try:
            return from_published(content)
        except (KeyError, ValueError, AttributeError, TypeError) as error:
            raise ToolError(f"{path}: looks like a checkpoint of the published code, but {error!r} is off") from error
    raise ToolError(f"{path}: not a SCOUTER checkpoint (no model and configuration in it)")


def _unreadable(path: Path, error: Exception, *, refused: bool = False) -> ToolError:
    """What to say of a file that was not read: an archive (PK) or a bare pickle (0x80) was a PyTorch file."""
    with path.open("rb") as file:
        start = file.read(2)
    if refused and (start == b"PK" or start[:1] == b"\x80"):
        return ToolError(f"{path}: refused, it holds more than tensors and plain values, code perhaps")
    if start == b"PK" or path.suffix == ".safetensors":
        return ToolError(f"{path}: not a readable checkpoint, damaged or cut short ({_first_line(error)})")
    return ToolError(f"{path}: not a checkpoint (no PyTorch file)")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]

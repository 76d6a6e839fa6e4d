"""Checkpoints: written completely or not at all, read without executing code from the file."""

import argparse
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tools import VERSION, ToolError, first_line
from tools.checkpoint_content import check_content, weight_faults
from tools.files import atomic_file
from tools.original_checkpoint import from_published, upgrade
from tools.startup import limit_message

FORMAT = "scouter-2"
READABLE_FORMATS = ("scouter-1", FORMAT)  # scouter-1 has older names, see tools/original_checkpoint.py
# Keys under which weight files keep a state dict; of a file with several, the first is read.
CONTAINERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema", "ema_state_dict", "ema")
REQUIRED_KEYS = ("model_config", "data_config", "train_config", "model", "epoch")


def run_name(dataset: str, *, use_slot: bool, loss_status: int, area_of: tuple[float, int] | None = None) -> str:
    """Name of a run as in the published code, for example ``CUB200_use_slot_negative``.

    Args:
        dataset: name of the dataset.
        use_slot: False for the plain classifier.
        loss_status: -1 for a negative model.
        area_of: lambda_value and slots_per_class, if the name contains them (``--cal_area_size true``).
    """
    name = f"{dataset}_use_slot" if use_slot else f"{dataset}_no_slot"
    if use_slot and loss_status != 1:
        name += "_negative"
    if area_of is not None:
        name += f"_for_area_size_{float(area_of[0])}_{area_of[1]}"
    return name


def checkpoint_path(folder: str | Path, run: str, suffix: str = "") -> Path:
    """Path of a checkpoint: ``<folder>/<run>_checkpoint<suffix>.pth``."""
    return Path(folder) / f"{run}_checkpoint{suffix}.pth"


def run_of(path: Path) -> str:
    """Name of the run that wrote a checkpoint, with the suffix of a best or numbered one."""
    return path.stem.replace("_checkpoint", "")


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Save plain types and tensors, completely or not at all.

    Raises:
        ToolError: the file cannot be written.
    """
    try:
        with atomic_file(path) as file:
            torch.save({**content, "format": FORMAT, "version": VERSION}, file)
    except ToolError:
        raise
    except (OSError, RuntimeError) as error:  # torch turns an error of the disk into a RuntimeError
        raise ToolError(f"{path} cannot be written ({first_line(error)}): check free space and permissions; nothing "
                        "saved before is lost") from error  # fmt: skip


def save_epoch(folder: str | Path, run: str, content: Mapping[str, Any], *, best: bool, numbered: bool) -> None:
    """Save the state after an epoch as the last checkpoint and, if requested, as the best and a numbered one.

    The number has four digits and counts from zero, as in the published code.

    Raises:
        ToolError: a file cannot be written.
    """
    suffixes = ["_best"] if best else []
    suffixes += [f"{content['epoch']:04}"] if numbered else []
    for suffix in (*suffixes, ""):
        save(checkpoint_path(folder, run, suffix), content)


def read_file(path: str | Path) -> Any:
    """Read a PyTorch or .safetensors file of tensors, plain types and argparse Namespaces.

    Raises:
        ToolError: the file is missing, damaged, of another format, or would execute code.
    """
    path = Path(path)
    if not path.is_file():
        raise ToolError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        _check_sums(path)
        # Loading a Namespace sets its attributes and runs no code; the published code saves one.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unreadable(path, error, refused="nsupported" in str(error)) from error
    except Exception as error:  # a damaged file makes torch and pickle raise errors of many types
        if limit_message(error):  # which is no fault of the file
            raise
        raise _unreadable(path, error) from error


def read_head(path: Path) -> dict[str, Any]:
    """Content of a checkpoint of this project, its tensors not read yet; empty for any other file, or none.

    For questions about other files than the one that is used: it checks nothing.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True) if path.is_file() else {}
    except Exception:  # a damaged file makes torch and pickle raise errors of many types
        return {}
    return content if isinstance(content, dict) and content.get("format") in READABLE_FORMATS else {}


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Named tensors of a weight file, which may keep them in a container such as ``state_dict`` or ``model``.

    Where none of :data:`CONTAINERS` is there, the tensors of every nested dict are returned under its name and a dot;
    entries that are no tensors, and the state of optimizers, are left out.

    Raises:
        ToolError: see :func:`read_file`; or the file contains no state dict, or a weight that is not finite.
    """
    state = read_file(path)
    while isinstance(state, Mapping) and (inner := [state[name] for name in CONTAINERS if _flat(state.get(name))]):
        state = inner[0]
    named = _flat(state)
    if not named:
        raise ToolError(f"{path}: no state dict (names and tensors) in it; give a file of weights")
    if all(key.startswith("module.") for key in named):
        named = {key.removeprefix("module."): value for key, value in named.items()}
    if fault := next(weight_faults(named, of="weight"), None):
        raise ToolError(f"{path}: {fault}; give another file")
    return named


def _flat(state: Any) -> dict[str, Tensor]:
    """Tensors of a dict and of the dicts in it, under dotted names."""
    named: dict[str, Tensor] = {}
    for key, value in state.items() if isinstance(state, Mapping) else ():
        if isinstance(value, Tensor):
            named[str(key)] = value
        elif isinstance(value, Mapping) and not str(key).startswith(("optim", "sched", "lr_", "scaler")):
            named |= {f"{key}.{name}": tensor for name, tensor in _flat(value).items()}
    return named


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project or, translated, of the published code.

    Returns:
        ``model_config``, ``data_config``, ``train_config``, ``model``, ``epoch`` and, if this project saved it,
        ``optimizer``, ``scheduler``, ``metrics``, ``best_top1``, and ``initial_weights``, the origin of those of the
        backbone (``resnet18.tv_in1k``, a file; "" for random ones).

    Raises:
        ToolError: see :func:`read_file`; or the file is not a checkpoint, or see :func:`check_content`.
    """
    content = read_file(path)
    if isinstance(content, dict) and content.get("format") in READABLE_FORMATS:
        missing = [key for key in REQUIRED_KEYS if key not in content]
        if missing:
            raise ToolError(f"{path}: incomplete checkpoint, it has no {', '.join(missing)}; give another file")
        content = upgraded(content, path)
        check_content(content, path)
        return content
    if isinstance(content, dict) and "model" in content and isinstance(content.get("args"), argparse.Namespace):
        try:
            content = from_published(content)
        except (KeyError, ValueError, AttributeError, TypeError, ArithmeticError) as error:
            raise ToolError(f"{path}: looks like a checkpoint of the published code, but cannot be translated "
                            f"({error!r})") from error  # fmt: skip
        check_content(content, path)
        return content
    raise ToolError(f"{path}: not a SCOUTER checkpoint (no model and configuration in it); for backbone weights alone "
                    "use --backbone_weights")  # fmt: skip


def upgraded(content: Mapping[str, Any], path: Path | str) -> dict[str, Any]:
    """Content of a checkpoint of any version of this project under today's names."""
    content = dict(content)
    for name in ("model_config", "model", "raw_model"):
        if name in content and not isinstance(content[name], Mapping):
            raise ToolError(f"{path}: {name} is no dict; the file is damaged or was changed: give another one")
    content["model_config"], content["model"] = upgrade(content["model_config"], content["model"])
    if "left" in content:
        content["stopped"] = content.pop("left")
    if "raw_model" in content:
        _, content["raw_model"] = upgrade(content["model_config"], content["raw_model"])
    return content


def _check_sums(path: Path) -> None:
    """Compare the records of a PyTorch archive with their checksums, which torch.load does not (0.1 s for 200 MB).

    Raises:
        zipfile.BadZipFile: a record differs.
    """
    if not zipfile.is_zipfile(path):
        return  # the format before PyTorch 1.6, which has no checksums
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def _unreadable(path: Path, error: Exception, *, refused: bool = False) -> ToolError:
    """Error for a file that cannot be read; PyTorch files start like a zip archive (PK) or a pickle (0x80)."""
    with path.open("rb") as file:
        start = file.read(2)
    if refused and (start == b"PK" or start[:1] == b"\x80"):
        return ToolError(f"{path}: refused, it holds more than tensors and plain values, perhaps code")
    if start == b"PK" or path.suffix == ".safetensors":
        return ToolError(f"{path}: not a readable checkpoint, damaged or cut short ({first_line(error)})")
    return ToolError(f"{path}: not a checkpoint (not a PyTorch file)")

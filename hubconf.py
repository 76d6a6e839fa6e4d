"""Python interface, for torch.hub and as a module of a checkout: trained models that explain pictures, and new models.

``torch.hub.load`` keeps the project's folder on ``sys.path`` only while it loads, and the caller may have modules named
``tools`` or ``dataset``. So the project is imported here as a whole, beside such modules, which then get their names
back; the project's modules keep their references to each other, and their names if nobody else has them.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

dependencies = ["torch", "torchvision", "timm", "huggingface_hub", "safetensors", "matplotlib", "numpy", "PIL", "tqdm"]

_ROOT = Path(__file__).resolve().parent
_PACKAGES = ("dataset", "engine", "sloter", "tools")


def _taken(*, own: bool) -> dict[str, ModuleType]:
    """Loaded modules under the names of the project's packages, of the project or of others."""
    return {
        name: module
        for name, module in sys.modules.items()
        if (package := name.partition(".")[0]) in _PACKAGES and _is_own(sys.modules.get(package)) == own
    }


def _is_own(package: ModuleType | None) -> bool:
    file = getattr(package, "__file__", None)
    return file is not None and Path(file).resolve().parent.parent == _ROOT


def _found_elsewhere() -> bool:
    """Whether ``import`` would find a package of one of these names outside the project."""
    path = [entry for entry in sys.path if Path(entry).resolve() != _ROOT]
    return any(PathFinder.find_spec(name, path) is not None for name in _PACKAGES)


@contextmanager
def _own_modules() -> Iterator[None]:
    """Let ``import`` find the project's packages, and afterwards what it found before."""
    path, foreign, before = [*sys.path], _taken(own=False), _taken(own=True)
    imported = sys.modules.get(__name__)  # not so in torch.hub
    keep = not foreign and ((imported is not None and vars(imported) is globals()) or not _found_elsewhere())
    for name in foreign:
        del sys.modules[name]
    sys.path.insert(0, str(_ROOT))
    try:
        yield
    finally:
        sys.path[:] = path
        for name in _taken(own=True):
            if not keep and name not in before:
                del sys.modules[name]
        sys.modules.update(foreign)


with warnings.catch_warnings(), _own_modules():
    # huggingface_hub asks for bars of notebooks, and prints a warning where these lack ipywidgets.
    warnings.filterwarnings("ignore", "IProgress not found")
    import torch

    from engine.trained_model import TrainedModel
    from sloter.slot_model import PlainClassifier, SlotModel, build_model
    from tools import ToolError, first_line


def trained(
    checkpoint: str | Path, *, device: str | torch.device = "cpu", img_size: tuple[int, int] | None = None
) -> TrainedModel:  # fmt: skip
    """Open a checkpoint of train.py or of the published code: ``explain(picture)``, ``save_pretrained(folder)``.

    Args:
        checkpoint: the file.
        device: such as ``cpu`` or ``cuda``.
        img_size: (H, W) of the pictures in pixels; None for the size in training.

    Raises:
        ToolError: no such file or device, or no checkpoint.
        ModelError: its weights do not fit its model.
    """
    with torch.random.fork_rng(devices=[]):  # the weights are drawn before they are replaced
        return TrainedModel.open(checkpoint, device=_device(device), img_size=img_size)


def from_pretrained(
    name: str | Path, *, device: str | torch.device = "cpu", revision: str | None = None
) -> TrainedModel:  # fmt: skip
    """Open a folder of ``save_pretrained``, or a repository ``user/model`` of the Hugging Face hub.

    Args:
        name: the folder or the repository.
        device: such as ``cpu`` or ``cuda``.
        revision: branch, tag or commit of the repository.

    Raises:
        ToolError: no such folder, repository or device; the hub cannot be reached; a file is damaged.
        ModelError: its weights do not fit its model.
    """
    with torch.random.fork_rng(devices=[]):
        return TrainedModel.from_pretrained(name, device=_device(device), revision=revision)


def digits(*, device: str | torch.device = "cpu") -> TrainedModel:
    """The quickstart's model, which ships with the project: grey digits, white on black, 98.9 % top-1 on MNIST5k."""
    return from_pretrained(_ROOT / "pretrained" / "digits", device=device)


def scouter(backbone: str, num_classes: int, **config: Any) -> SlotModel | PlainClassifier:
    """Build an untrained model; see :func:`sloter.slot_model.build_model`.

    Args:
        backbone: model name in timm.
        num_classes: c.
        config: further keywords of ``build_model``, among them the options of the slot head.

    Raises:
        ModelError: an unknown backbone or option, or an invalid value.
    """
    return build_model(backbone=backbone, num_classes=num_classes, **config)


def _device(name: str | torch.device) -> torch.device:
    """Device of that name, without making it the current one.

    Raises:
        ToolError: this machine does not have it.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ToolError(f"device {name}: not available ({first_line(error)}); leave it out for cpu") from error
    return device

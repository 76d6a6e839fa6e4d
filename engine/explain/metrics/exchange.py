"""Exchange of a model's weights for others, and back; random weights of a whole model."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tools import ToolError


@contextlib.contextmanager
def exchanged(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Context in which parameters and buffers have other values; they get their own back even after an error.

    Args:
        tensors: parameters and buffers of a model; they are changed in place, so that whoever holds them sees it.
        values: a tensor of the same shape for each.
    """
    own = [tensor.detach().clone() for tensor in tensors]
    try:
        _copy(tensors, values)
        yield
    finally:
        _copy(tensors, own)


@torch.no_grad()
def _copy(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
    torch.clear_autocast_cache()  # it has copies in lower precision of the weights as they were


def state_of(module: nn.Module) -> list[Tensor]:
    """All parameters and buffers of a model, each once."""
    return [*module.parameters(), *module.buffers()]


def random_state(module: nn.Module, *, seed: int) -> list[Tensor]:
    """Draw random values for :func:`state_of` of a model, which stays as it is, and so does the RNG state.

    A layer is drawn as torch draws it at the start of a training; a parameter outside of such layers, for instance the
    slots, is drawn with its own mean and standard deviation, and a single number is kept.
    """
    tensors = state_of(module)
    devices = sorted({tensor.device.index for tensor in tensors if tensor.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), exchanged(tensors, tensors):
        torch.manual_seed(seed)
        drawn = set()
        for layer in module.modules():
            reset: Any = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
                drawn |= {id(tensor) for tensor in layer.parameters(recurse=False)}
        for tensor in module.parameters():
            if id(tensor) not in drawn and tensor.numel() > 1 and tensor.is_floating_point():
                with torch.no_grad():
                    tensor.copy_(tensor.mean() + tensor.std() * torch.randn(tensor.shape).to(tensor))
        return [tensor.detach().clone() for tensor in tensors]


def class_weights(model: nn.Module, num_classes: int) -> list[nn.Parameter]:
    """Find the weights of a classifier that belong to single classes: matrices with a row for each class.

    Of a timm model they are those of its classifier, else the last ones of that shape.

    Raises:
        ToolError: there are none.
    """
    classifier: Any = getattr(model, "get_classifier", lambda: None)
    heads = classifier()
    heads = heads if isinstance(heads, tuple | list) else [heads]
    parts = [head for head in heads if isinstance(head, nn.Module) and any(True for _ in head.parameters())]
    found = [_rows(part, num_classes) for part in parts or [model]]
    rows = [own[-1] for own in found if own]
    if not rows:
        raise ToolError(f"{type(model).__name__} has no weights of single classes, which the metric random_head "
                        "redraws: leave it out of --metrics")  # fmt: skip
    return rows


def _rows(module: nn.Module, num_classes: int) -> list[nn.Parameter]:
    return [weights for weights in module.parameters() if weights.ndim > 1 and len(weights) == num_classes]

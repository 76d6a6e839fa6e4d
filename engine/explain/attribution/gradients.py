"""Gradients of the logits of many classes with respect to the explained layer, from one forward pass."""

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor

from engine.explain.attribution.split_model import SplitModel, forward_from_leaf

MAX_GRADIENTS = 2**20  # numbers of the gradients that are computed at once, 4 MiB


def layer_gradients(model: SplitModel, images: Tensor, targets: Tensor) -> tuple[Tensor, Iterator[Tensor]]:
    """Features of the layer (b, f, h, w), and gradients of the logits of the targets in parts (t, b, f, h, w).

    Each part is computed when it is asked for, since those of thousands of classes would take gigabytes together.
    """
    features, logits = forward_from_leaf(model, images)
    sums = logits.gather(1, targets).sum(0)  # (t)
    size = max(1, MAX_GRADIENTS // features.numel())
    return features.detach(), (_gradient(part, features) for part in sums.split(size))


def weighted_sum(weights: Tensor, features: Tensor) -> Tensor:
    """Sum (t, b, h, w) of the features (b, f, h, w), each channel weighted by (t, b, f)."""
    return torch.einsum("tbf,bfhw->tbhw", weights, features)


def _gradient(sums: Tensor, features: Tensor) -> Tensor:
    """Gradient (t, b, f, h, w) of each of t sums."""
    if len(sums) > 1:
        directions = torch.eye(len(sums)).to(sums)
        with suppress(RuntimeError):  # a module whose gradient is not written for several directions at once
            return torch.autograd.grad(sums, features, directions, retain_graph=True, is_grads_batched=True)[0]
    return torch.stack([torch.autograd.grad(each, features, retain_graph=True)[0] for each in sums])

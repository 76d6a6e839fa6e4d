"""Where slots start: at the mean key of their class, seen by the backbone as it is before training."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from tools.console import progress
from tools.distributed import sum_over_processes
from tools.machine import autocast


class SlotStart(Protocol):
    """What is needed of a slot model."""

    training: bool

    def train(self, mode: bool = True) -> Any: ...
    def mean_keys(self, images: Tensor) -> Tensor: ...
    def start_slots(self, means: Tensor, counts: Tensor) -> None: ...


@torch.no_grad()
def set_class_means(
    model: SlotStart, loader: Iterable[Any], *, num_classes: int, amp: torch.dtype | None = None
) -> None:  # fmt: skip
    """Start the slots of a slot model at the means of their classes' keys.

    Args:
        model: has ``mean_keys`` (pictures to (b, d)) and ``start_slots`` ((c, d) means and (c) counts).
        loader: batches with ``images`` and ``labels``, each picture of all processes once.
        num_classes: c.
        amp: precision of the forward pass, None for single precision.
    """
    training = model.training
    model.train(False)
    sums: Tensor | None = None
    counts = torch.zeros(num_classes)
    for batch in progress(loader, "class means"):
        with autocast(batch.images.device, amp):
            keys = model.mean_keys(batch.images).float()  # (b, d)
        if sums is None:
            sums, counts = keys.new_zeros(num_classes, keys.shape[1]), counts.to(keys.device)
        sums.index_add_(0, batch.labels, keys)
        counts += torch.bincount(batch.labels, minlength=num_classes)
    assert sums is not None
    sums, counts = sum_over_processes(sums), sum_over_processes(counts)
    model.start_slots(sums / counts.clamp_min(1)[:, None], counts)
    model.train(training)

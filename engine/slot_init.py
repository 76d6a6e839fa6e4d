"""Initial slots at the mean keys of their classes, computed by the backbone before training."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from dataset.loaders import Batch
from tools.console import progress
from tools.distributed import sum_over_processes
from tools.machine import autocast


class SlotStart(Protocol):
    """Interface of a slot model for setting its initial slots."""

    training: bool

    def train(self, mode: bool = True) -> object:
        """Set training or evaluation mode."""

    def mean_keys(self, images: Tensor) -> Tensor:
        """Mean keys (b, d) over the grid, of pictures (b, ch, H, W)."""

    def start_slots(self, means: Tensor, counts: Tensor) -> None:
        """Set the initial slots from the mean key (c, d) and the number of pictures (c) of each class."""


@torch.no_grad()
def set_class_means(
    model: SlotStart, loader: Iterable[Batch], *, num_classes: int, amp: torch.dtype | None = None
) -> None:  # fmt: skip
    """Set the initial slots of a slot model to the means of their classes' keys.

    Args:
        model: a slot model.
        loader: batches in which each picture occurs once over all processes.
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

"""Accuracy, loss and size of the explanations over a whole split."""

import math
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine import TrainingError
from engine.accuracy import confusion_counts, topk_correct
from engine.explain.metrics.area import explanation_area
from tools.console import progress
from tools.distributed import sum_over_processes
from tools.distributed.meters import SampleMeans
from tools.machine import autocast


class Criterion(Protocol):
    """What evaluation needs of a loss: how the means over a split make it."""

    def combine(self, ce: Tensor, attn_mean: Tensor) -> dict[str, Tensor]: ...


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    criterion: Criterion,
    *,
    device: torch.device,
    negative: bool = False,
    explained: Tensor | None = None,
    confusion: Tensor | None = None,
    amp: torch.dtype | None = None,
) -> dict[str, float]:
    """Evaluate on every sample of every process once; the model is left in evaluation mode.

    Args:
        model: gives outputs with ``logits`` and, of a slot model, ``attn``.
        loader: batches with ``images`` and ``labels``, on the device.
        criterion: its ``combine`` makes the loss of the means over the split, so that the loss depends
            neither on the size of the batches nor on the number of processes.
        device: where the batches are.
        negative: whether the maps of a slot model deny their class; see :func:`explanation_area`.
        explained: (c) the class that such a model explains for each true one, on the device; see there.
        confusion: (c, c) zeros on the device that are filled with counts, true classes by predicted ones.
        amp: precision of the forward pass, None for single precision.

    Returns:
        ``loss``, ``ce``, ``attn_mean``, ``area_loss``, ``top1``, ``top5``, ``images`` and, of a slot model,
        ``area``.

    Raises:
        TrainingError: the loss is not finite.
    """
    model.eval()
    meter = SampleMeans(("ce", "attn_mean", "area", "top1", "top5"), device)
    has_maps = False
    for batch in progress(loader, "evaluate"):
        with autocast(device, amp):
            output = model(batch.images)
        has_maps = output.attn is not None
        meter.add(_sums(output, batch.labels, negative, explained), len(batch.labels))
        if confusion is not None:
            confusion += confusion_counts(output.logits, batch.labels)
    figures, images = meter.compute()
    if confusion is not None:
        sum_over_processes(confusion)
    ce, attn_mean = (torch.tensor(figures.pop(name), dtype=torch.float64) for name in ("ce", "attn_mean"))
    if not has_maps:
        del figures["area"]
    losses = {name: float(value) for name, value in criterion.combine(ce, attn_mean).items()}
    if not math.isfinite(losses["loss"]):
        raise TrainingError(f"the model is broken: its loss over {images} pictures is {losses['loss']}")
    return {**losses, **figures, "images": images}


def _sums(output: Any, labels: Tensor, negative: bool, explained: Tensor | None) -> dict[str, Tensor]:
    """Sums over a batch of everything that is averaged over the split."""
    logits, attn = output.logits.float(), output.attn
    nothing = area = logits.new_zeros(())
    if attn is not None:
        area = explanation_area(attn.sum(2), labels, negative=negative, explained=explained).sum()
    return {
        "ce": F.cross_entropy(logits, labels, reduction="sum"),
        "attn_mean": nothing if attn is None else attn.flatten(1).mean(1).sum(),
        "area": area,
        "top1": topk_correct(logits, labels, 1),
        "top5": topk_correct(logits, labels, 5),
    }

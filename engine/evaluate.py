"""Evaluation over a whole split: loss, accuracy, and the area of the explanations."""

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dataset.loaders import Batch
from engine import TrainingError
from engine.accuracy import topk_correct
from engine.explain.metrics.area import explanation_area
from sloter.slot_attention import over_slots
from sloter.slot_model import SlotOutput
from tools.console import progress
from tools.distributed.meters import SampleMeans
from tools.machine import autocast


class Criterion(Protocol):
    """Loss that can be computed from means over a split."""

    def attention_area(self, attn: Tensor) -> Tensor:
        """Mean attention (b) of each picture, from attn (b, c, s, h, w)."""
        ...

    def combine(self, ce: Tensor, attn_mean: Tensor) -> dict[str, Tensor]:
        """Losses by name, including ``loss``, from the mean cross entropy and the mean attention."""


@torch.no_grad()
def evaluate(
    model: nn.Module, loader: Iterable[Batch], criterion: Criterion, *, device: torch.device, negative: bool = False,
    explained: Tensor | None = None, amp: torch.dtype | None = None,
    remedy: str = "test an earlier checkpoint", collect: Callable[[Batch, Tensor], None] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Evaluate a model on every sample of every process once, and leave it in evaluation mode.

    Args:
        model: returns a :class:`SlotOutput`.
        loader: batches on the device.
        criterion: computes the loss from means over the split, so that it depends neither on the batch size nor on
            the number of processes.
        device: device of the batches.
        negative: whether the model is a negative one, for the area; see :func:`explanation_area`.
        explained: (c), on the device: the class that a negative model explains for each true class.
        amp: precision of the forward pass, None for single precision.
        remedy: end of the message if the loss is not finite.
        collect: gets each batch with its logits (b, c).

    Returns:
        ``loss``, ``ce``, ``attn_mean``, ``area_loss``, ``top1``, ``top5``, ``images`` and, for a slot model, ``area``.

    Raises:
        TrainingError: the loss is not finite.
    """
    model.eval()
    meter = SampleMeans(("ce", "attn_mean", "area", "top1", "top5"), device)
    has_maps = False
    for batch in progress(loader, "evaluate"):
        with autocast(device, amp):
            output: SlotOutput = model(batch.images)
        has_maps = output.attn is not None
        meter.add(_sums(output, batch.labels, criterion, negative, explained), len(batch.labels))
        if collect is not None:
            collect(batch, output.logits)
    metrics, images = meter.compute()
    ce, attn_mean = (torch.tensor(metrics.pop(name), dtype=torch.float64) for name in ("ce", "attn_mean"))
    if not has_maps:
        del metrics["area"]
    losses = {name: float(value) for name, value in criterion.combine(ce, attn_mean).items()}
    if not math.isfinite(losses["loss"]):
        raise TrainingError(f"the loss over {images} pictures is {losses['loss']}: the model's weights are not finite; "
                            f"{remedy}")  # fmt: skip
    return {**losses, **metrics, "images": images}


def _sums(
    output: SlotOutput, labels: Tensor, criterion: Criterion, negative: bool, explained: Tensor | None
) -> dict[str, Tensor]:
    """Sums over a batch of all quantities that are averaged over the split."""
    logits, attn = output.logits.float(), output.attn
    area = attn_mean = logits.new_zeros(())
    if attn is not None:
        above = over_slots(attn).clamp_min(0)  # below a reference there is nothing to show
        area = explanation_area(above, labels, negative=negative, explained=explained).sum()
        attn_mean = criterion.attention_area(attn).sum()
    return {
        "ce": F.cross_entropy(logits, labels, reduction="sum"),
        "attn_mean": attn_mean,
        "area": area,
        "top1": topk_correct(logits, labels, 1),
        "top5": topk_correct(logits, labels, 5),
    }

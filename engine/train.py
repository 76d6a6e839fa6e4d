"""One epoch of training."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from engine import TrainingError
from engine.accuracy import topk_correct
from engine.optim_step import OptimStep
from tools.console import progress
from tools.distributed import max_over_processes, world_size
from tools.distributed.meters import SampleMeans

LOSSES = ("loss", "ce", "attn_mean", "area_loss")
WHAT_TO_TRY = "what was saved before stays; try a lower --lr, --clip_grad 1, --warmup_epochs 1 or --attention qknorm"
SHOW_EVERY = 0.5  # seconds between two looks at the figures, which wait for the device
LOOK_EVERY = 50  # steps between two looks at whether the loss is still finite, on all processes after the same step


class EpochStopped(Exception):
    """An epoch that was left before its end, because it was asked to.

    Attributes:
        images: pictures of all processes that were trained on in this epoch.
        sums: of the figures over them, by name.
        seconds: that it took.
    """

    def __init__(self, images: int, sums: dict[str, float], seconds: float) -> None:
        super().__init__(f"stopped after {images} pictures")
        self.images, self.sums, self.seconds = images, sums, seconds


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    criterion: Callable[[Any, Tensor], dict[str, Tensor]],
    optim_step: OptimStep,
    *,
    epoch: int,
    epochs: int,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
    before: EpochStopped | None = None,
) -> dict[str, float]:
    """Train on every batch of a loader once. Nothing in a step waits for the device.

    Args:
        model: gives outputs with ``logits``.
        loader: batches with ``images`` and ``labels``, on the device; has a length.
        criterion: outputs and labels to the scalars named in :data:`LOSSES`.
        optim_step: from the loss of each batch to new weights.
        epoch: number of this epoch, from 0.
        epochs: of the whole run, for the display.
        device: where the batches are.
        stop: asked after each change of the weights whether to leave the epoch.
        before: the first part of this epoch, if it was left; the loader then gives the rest.

    Returns:
        Means over all samples of all processes of :data:`LOSSES`, and ``top1``, ``top5``,
        ``lr`` (of the last step), ``images_per_s`` (over all processes) and ``seconds``.

    Raises:
        TrainingError: the loss is not finite.
        EpochStopped: ``stop`` said so.
    """
    model.train()
    meter = SampleMeans((*LOSSES, "top1", "top5"), device)
    first_bad = torch.full((), -1, dtype=torch.long, device=device)  # step of the first loss that is not finite
    start = shown = time.monotonic()
    if before is not None:
        meter.restore(before.sums, before.images)
        start -= before.seconds
    steps = len(loader)  # type: ignore[arg-type]
    with progress(loader, f"epoch {epoch + 1}/{epochs}") as bar:
        for step, batch in enumerate(bar):
            with optim_step.batch(step, steps) as group:
                with optim_step.autocast():
                    output = _forward(model, batch.images)
                losses = criterion(output, batch.labels)
                optim_step.backward(losses["loss"], group)
            first_bad = torch.where((first_bad < 0) & ~losses["loss"].detach().isfinite(), step, first_bad)
            _count(meter, losses, output.logits, batch.labels)
            if (step + 1) % LOOK_EVERY == 0:
                _stop_if_bad(first_bad, epoch)
            if time.monotonic() - shown > SHOW_EVERY:
                means = meter.local()
                bar.set_postfix(
                    loss=f"{means['loss']:.3f}",
                    top1=f"{means['top1']:.1%}",
                    img_s=f"{meter.count * world_size() / (time.monotonic() - start):.0f}",
                    refresh=False,
                )
                shown = time.monotonic()
            if group.is_complete and stop():
                _stop_if_bad(first_bad, epoch)
                sums, images = meter.totals()
                raise EpochStopped(images, sums, time.monotonic() - start)
    _stop_if_bad(first_bad, epoch)
    seconds = time.monotonic() - start
    figures, images = meter.compute()
    return {**figures, "lr": optim_step.lr, "images_per_s": images / seconds, "seconds": seconds}


def _forward(model: nn.Module, images: Tensor) -> Any:
    try:
        return model(images)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            "batch norm cannot train on a single value: give a larger --batch_size or --img_size"
        ) from error


def _count(meter: SampleMeans, losses: dict[str, Tensor], logits: Tensor, labels: Tensor) -> None:
    count = len(labels)
    labels = labels if labels.ndim == 1 else labels.argmax(1)  # a mixed picture counts as what it has most of
    sums = {name: losses[name].detach() * count for name in LOSSES}
    correct = {"top1": topk_correct(logits.detach(), labels, 1), "top5": topk_correct(logits.detach(), labels, 5)}
    meter.add({**sums, **correct}, count)


def _stop_if_bad(first_bad: Tensor, epoch: int) -> None:
    step = int(max_over_processes(first_bad.clone()))  # all stop or none: a sweep goes on with its next run
    if step >= 0:
        raise TrainingError(f"the loss is not finite in epoch {epoch + 1}, step {step + 1}; {WHAT_TO_TRY}")

"""One epoch of training."""

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dataset.loaders import Batch
from engine import TrainingError
from engine.accuracy import topk_correct
from engine.optim_step import OptimStep
from sloter.slot_model import SlotOutput
from tools.console import progress
from tools.distributed import max_over_processes, world_size
from tools.distributed.meters import SampleMeans

LOSSES = ("loss", "ce", "attn_mean", "area_loss")
REMEDY = "earlier checkpoints are kept; try a lower --lr, --clip_grad 1, --warmup_epochs 1 or --attention qknorm"
SECONDS_BETWEEN_DISPLAYS = 0.5  # in the progress bar; each display makes the host wait for the device
STEPS_BETWEEN_CHECKS = 50  # of whether the loss is finite; all processes check after the same step


class EpochStopped(Exception):
    """Signal that an epoch was stopped on request before its end.

    Attributes:
        images: pictures of all processes trained on in this epoch so far.
        sums: sums of the metrics over these pictures, by name.
        seconds: duration of the epoch so far.
    """

    def __init__(self, images: int, sums: dict[str, float], seconds: float) -> None:
        super().__init__(f"stopped after {images} pictures")
        self.images, self.sums, self.seconds = images, sums, seconds


class Loader(Protocol):
    """Batches of an epoch, on the device."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...


def train_one_epoch(
    model: nn.Module, loader: Loader, criterion: Callable[[SlotOutput, Tensor], dict[str, Tensor]],
    optim_step: OptimStep, *, epoch: int, epochs: int, device: torch.device,
    stop: Callable[[], bool] = lambda: False, before: EpochStopped | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train on every batch of a loader once. No step waits for the device.

    Args:
        model: returns a :class:`SlotOutput`.
        loader: batches on the device.
        criterion: maps outputs and labels to the scalars named in :data:`LOSSES`.
        optim_step: changes the weights, given the loss of each batch.
        epoch: number of this epoch, from 0.
        epochs: number of epochs of the run, for the display.
        device: device of the batches.
        stop: called after each change of the weights; True stops the epoch there.
        before: the first part of this epoch, if it was stopped; the loader then gives the rest.

    Returns:
        Means over all samples of all processes of :data:`LOSSES`, ``top1`` and ``top5``; ``lr`` of the last step,
        ``images_per_s`` over all processes, and ``seconds``.

    Raises:
        TrainingError: the loss is not finite.
        EpochStopped: ``stop`` returned True.
    """
    model.train()
    metrics, steps = _EpochMetrics(epoch, device, before), len(loader)
    with progress(loader, f"epoch {epoch + 1}/{epochs}") as bar:
        for step, batch in enumerate(bar):
            with optim_step.batch(step, steps) as group:
                with optim_step.autocast():
                    output = _forward(model, batch.images)
                losses = criterion(output, batch.labels)
                optim_step.backward(losses["loss"], group)
            metrics.add(step, losses, output.logits, batch.labels)
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0:
                metrics.check()
            metrics.display(bar)
            if group.is_complete and stop():
                metrics.check()
                sums, images = metrics.meter.totals()
                raise EpochStopped(images, sums, metrics.seconds)
    metrics.check()
    seconds = metrics.seconds
    means, images = metrics.meter.compute()
    return {**means, "lr": optim_step.lr, "images_per_s": images / seconds, "seconds": seconds}


def _forward(model: nn.Module, images: Tensor) -> SlotOutput:
    try:
        return model(images)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            "batch norm cannot train on a single value: give a larger --batch_size or --img_size"
        ) from error


class _EpochMetrics:
    """Metrics of an epoch in progress, kept on the device until they are checked or displayed."""

    def __init__(self, epoch: int, device: torch.device, before: EpochStopped | None) -> None:
        self.epoch, self.meter = epoch, SampleMeans((*LOSSES, "top1", "top5"), device)
        self.first_bad = torch.full((), -1, dtype=torch.long, device=device)  # step of the first loss not finite
        self.start = self.displayed = time.monotonic()
        if before is not None:
            self.meter.restore(before.sums, before.images)
            self.start -= before.seconds

    @property
    def seconds(self) -> float:
        """Duration of the epoch so far."""
        return time.monotonic() - self.start

    def add(self, step: int, losses: dict[str, Tensor], logits: Tensor, labels: Tensor) -> None:
        """Add the metrics of a batch, without waiting for the device."""
        self.first_bad = torch.where((self.first_bad < 0) & ~losses["loss"].detach().isfinite(), step, self.first_bad)
        count = len(labels)
        labels = labels if labels.ndim == 1 else labels.argmax(1)  # a mixed picture counts as its largest share
        sums = {name: losses[name].detach() * count for name in LOSSES}
        correct = {f"top{k}": topk_correct(logits.detach(), labels, k) for k in (1, 5)}
        self.meter.add({**sums, **correct}, count)

    def check(self) -> None:
        """Raise TrainingError if the loss of a step was not finite."""
        step = int(max_over_processes(self.first_bad.clone()))  # all processes stop or none, so that a sweep can go on
        if step >= 0:
            raise TrainingError(f"the loss is not finite in epoch {self.epoch + 1}, step {step + 1}; {REMEDY}")

    def display(self, bar: tqdm) -> None:
        """Show the metrics in the progress bar, at most once in ``SECONDS_BETWEEN_DISPLAYS``."""
        if time.monotonic() - self.displayed > SECONDS_BETWEEN_DISPLAYS:
            means, speed = self.meter.local(), self.meter.count * world_size() / self.seconds
            bar.set_postfix(
                loss=f"{means['loss']:.3f}", top1=f"{means['top1']:.1%}", img_s=f"{speed:.0f}", refresh=False
            )
            self.displayed = time.monotonic()

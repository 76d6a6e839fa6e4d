"""One epoch of training."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from engine import TrainingError
from tools.distributed import world_size
from tools.logger import progress
from tools.meters import SampleMeans
from tools.metrics import topk_correct

LOSSES = ("loss", "ce", "attn_mean", "area_loss")
WHAT_TO_TRY = "what was saved before stays; try a lower --lr, --clip_grad 1, --warmup_epochs 1 or --attention qknorm"
SHOW_EVERY = 0.5  # seconds between two looks at the figures, which wait for the device


def train_one_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    criterion: Callable[[Any, Tensor], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler,
    *,
    epoch: int,
    epochs: int,
    device: torch.device,
    clip_grad: float | None = None,
) -> dict[str, float]:
    """Train on every batch of a loader once.

    Args:
        model: gives outputs with ``logits``.
        loader: batches with ``images`` and ``labels``, on the device; has a length.
        criterion: outputs and labels to the scalars named in :data:`LOSSES`.
        optimizer: stepped once a batch.
        scheduler: stepped once a batch.
        epoch: number of this epoch, from 0.
        epochs: of the whole run, for the display.
        device: where the batches are.
        clip_grad: largest norm of the whole gradient; None leaves it.

    Returns:
        Means over all samples of all processes of :data:`LOSSES`, and ``top1``, ``top5``,
        ``lr`` (of the last step), ``images_per_s`` (over all processes) and ``seconds``.

    Raises:
        TrainingError: the loss is not finite.
    """
    model.train()
    meter = SampleMeans((*LOSSES, "top1", "top5"), device)
    first_bad = torch.full((), -1, dtype=torch.long, device=device)  # step of the first loss that is not finite
    start = shown = time.monotonic()
    lr = 0.0
    with progress(loader, f"epoch {epoch + 1}/{epochs}") as bar:
        for step, batch in enumerate(bar):
            output = _forward(model, batch.images)
            losses = criterion(output, batch.labels)
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            if clip_grad is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_grad)
            optimizer.step()
            lr = float(scheduler.get_last_lr()[0])
            scheduler.step()
            bad = ~losses["loss"].detach().isfinite()
            first_bad = torch.where((first_bad < 0) & bad, step, first_bad)
            _count(meter, losses, output.logits, batch.labels)
            if time.monotonic() - shown > SHOW_EVERY:
                _stop_if_bad(first_bad, epoch)
                means = meter.local()
                bar.set_postfix(
                    loss=f"{means['loss']:.3f}",
                    top1=f"{means['top1']:.1%}",
                    img_s=f"{meter.count * world_size() / (time.monotonic() - start):.0f}",
                    refresh=False,
                )
                shown = time.monotonic()
    _stop_if_bad(first_bad, epoch)
    seconds = time.monotonic() - start
    figures, images = meter.compute()
    return {**figures, "lr": lr, "images_per_s": images / seconds, "seconds": seconds}


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
    step = int(first_bad)
    if step >= 0:
        raise TrainingError(f"the loss is not finite in epoch {epoch + 1}, step {step + 1}; {WHAT_TO_TRY}")

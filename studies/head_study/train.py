"""Training and measurement of one head on features, with the loops and the loss of the project."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

from dataset.loaders import Batch
from engine.evaluate import evaluate
from engine.explain.metrics.area import explanation_area
from engine.explain.metrics.batch import upsample
from engine.explain.metrics.on_object import on_object
from engine.optim import build_optimizer, build_scheduler
from engine.optim_step import OptimStep
from engine.slot_init import set_class_means
from engine.train import train_one_epoch
from sloter.backbone import FeatureModel
from sloter.loss import ScouterLoss
from studies.head_study.features import Features
from studies.head_study.grid_game import grid_game
from studies.head_study.heads import build_head, maps_of

WARMUP_SHARE = 0.3  # of the epochs, in which the learning rate rises to its full value, as in one-cycle schedules


@dataclass(frozen=True)
class Setting:
    """The setting of one run.

    Attributes:
        head: one of :data:`studies.head_study.flags.HEADS`.
        sign: +1 or -1.
        lr, epochs, batch_size, weight_decay, clip_grad, lambda_value, power, label_smoothing, temperature, seed: see
            the flags.
        amp: precision of the 1x1 convolution, None for single precision.
        changes: see :func:`build_head`.
    """

    head: str
    sign: int = 1
    lr: float = 1e-3
    epochs: int = 15
    batch_size: int = 32
    weight_decay: float = 0.01
    clip_grad: float = 1.0
    lambda_value: float = 1.0
    power: float = 2.0
    label_smoothing: float = 0.0
    temperature: float = 1.0
    seed: int = 0
    amp: torch.dtype | None = None
    changes: dict[str, Any] = field(default_factory=dict)


class FeatureLoader:
    """Batches of features, in the form that the training and evaluation loops read."""

    def __init__(self, data: Features, *, batch_size: int, shuffle: bool, seed: int, device: torch.device) -> None:
        self.data, self.batch_size, self.shuffle, self.device = data, batch_size, shuffle, device
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        # A set smaller than a batch is trained as one batch, as in train.py.
        return max(1, len(self.data) // self.batch_size) if self.shuffle else -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.data), generator=self.generator) if self.shuffle else None
        for step in range(len(self)):
            batch: Any = slice(step * self.batch_size, (step + 1) * self.batch_size)
            numbers = order[batch] if order is not None else torch.arange(len(self.data))[batch]
            maps = self.data.maps[numbers].to(self.device).float()  # (b, n, f)
            features = maps.transpose(1, 2).unflatten(2, self.data.grid)  # (b, f, h, w)
            yield Batch(features, self.data.labels[numbers].to(self.device), numbers)


def train_head(
    train: Features, val: Features, setting: Setting, device: torch.device
) -> tuple[FeatureModel, dict[str, Any]]:
    """Train a head, and evaluate it in every third epoch and the last.

    Returns:
        The head, and its metrics: ``top1`` after the last epoch, ``best``, ``stable`` (``top1`` is within five points
        of ``best``), ``loss``, ``attn_mean`` and those of :func:`measure_maps`.
    """
    head, loader = prepare_head(train, setting, device)
    held_out = FeatureLoader(val, batch_size=256, shuffle=False, seed=0, device=device)
    criterion = ScouterLoss(
        lambda_value=setting.lambda_value, power=setting.power, label_smoothing=setting.label_smoothing,
        temperature=setting.temperature,
    )  # fmt: skip
    update = build_update(head, setting, device, steps_per_epoch=len(loader))
    accuracies: list[float] = []
    for epoch in range(setting.epochs):
        metrics = train_one_epoch(head, loader, criterion, update, epoch=epoch, epochs=setting.epochs, device=device)
        if epoch % 3 == 2 or epoch == setting.epochs - 1:
            val_metrics = evaluate(
                head, held_out, criterion, device=device, negative=setting.sign < 0, amp=setting.amp,
                remedy="give a lower rate in --lrs",
            )  # fmt: skip
            accuracies.append(val_metrics["top1"])
    result = {"top1": accuracies[-1], "best": max(accuracies), "stable": max(accuracies) - accuracies[-1] <= 0.05,
              "loss": metrics["loss"], "attn_mean": val_metrics["attn_mean"]}  # fmt: skip
    return head, {**result, **measure_maps(head, val, device, negative=setting.sign < 0)}


def prepare_head(train: Features, setting: Setting, device: torch.device) -> tuple[FeatureModel, FeatureLoader]:
    """A head with its initial weights, and the loader of its training."""
    torch.manual_seed(setting.seed)
    f, c = train.maps.shape[2], train.num_classes
    head, means = build_head(
        setting.head, f=f, grid=train.grid, num_classes=c, sign=setting.sign, changes=setting.changes
    )
    head.to(device)
    if means:
        in_order = FeatureLoader(train, batch_size=256, shuffle=False, seed=0, device=device)
        set_class_means(head, in_order, num_classes=c, amp=setting.amp)  # type: ignore[arg-type]
    return head, FeatureLoader(train, batch_size=setting.batch_size, shuffle=True, seed=setting.seed, device=device)


def build_update(head: FeatureModel, setting: Setting, device: torch.device, *, steps_per_epoch: int) -> OptimStep:
    """AdamW with warm-up and a cosine schedule."""
    optimizer = build_optimizer(head, lr=setting.lr, weight_decay=setting.weight_decay)
    scheduler = build_scheduler(
        optimizer, sched="cosine", steps_per_epoch=steps_per_epoch, epochs=setting.epochs, lr_drop=1,
        warmup_epochs=WARMUP_SHARE * setting.epochs,
    )  # fmt: skip
    return OptimStep(head, optimizer, scheduler, device=device, amp=setting.amp, clip_grad=setting.clip_grad)


@torch.no_grad()
def measure_maps(head: FeatureModel, val: Features, device: torch.device, *, negative: bool) -> dict[str, float]:
    """Measure the maps of a head.

    Returns:
        ``area`` and, over the pictures with boxes, ``precision`` of the true class's map, or of the others' mean for a
        negative head; with two classes or more, ``alike``, the cosine of the true class's map and the others' mean,
        which is 1 where maps ignore the class;
        with four classes or more, ``grid``, see :func:`studies.head_study.grid_game.grid_game`.
    """
    head.eval()
    areas, precisions, cosines = [], [], []
    for batch in FeatureLoader(val, batch_size=64, shuffle=False, seed=0, device=device):
        maps = maps_of(head, batch.images)  # (b, c, h, w)
        index = batch.labels.view(-1, 1, 1, 1).expand(-1, 1, *maps.shape[2:])
        own = maps.gather(1, index)[:, 0]  # (b, h, w)
        others = (maps.sum(1) - own) / max(maps.shape[1] - 1, 1)
        if maps.shape[1] > 1:
            cosines.append(F.cosine_similarity(own.flatten(1), others.flatten(1)))
        shown = others if negative else own
        areas.append(explanation_area(maps, batch.labels, negative=negative))
        if val.boxes is not None:
            boxes = [val.boxes[number].to(device) for number in batch.numbers.tolist()]
            has_box = torch.tensor([len(box) > 0 for box in boxes], device=device)
            if has_box.any():
                large = upsample(shown[has_box], val.img_size)
                precisions.append(on_object(large, [box for box in boxes if len(box)])["precision"])
    found = {"area": float(torch.cat(areas).mean())}
    if cosines:
        found["alike"] = float(torch.cat(cosines).mean())
    if precisions:
        found["precision"] = float(torch.cat(precisions).mean())
    share = grid_game(head, val, device)
    return found if share is None else found | {"grid": share}

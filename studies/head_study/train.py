"""Training and measurement of one head on features, with the loops and the loss of the project."""

from dataclasses import dataclass, field
from typing import Any

import torch

from engine.evaluate import evaluate
from engine.optim import build_optimizer, build_scheduler
from engine.optim_step import OptimStep
from engine.slot_init import set_class_means
from engine.train import train_one_epoch
from sloter.backbone import FeatureModel
from sloter.loss import ScouterLoss
from sloter.slot_model import SlotModel
from studies.head_study.features import Features
from studies.head_study.heads import build_head
from studies.head_study.loader import FeatureLoader
from studies.head_study.measure import measure_maps

WARMUP_SHARE = 0.3  # of the epochs, in which the learning rate rises to its full value, as in one-cycle schedules


@dataclass(frozen=True)
class Setting:
    """The setting of one run.

    Attributes:
        head: one of :data:`studies.head_study.flags.HEADS`.
        sign: +1 or -1.
        lr, epochs, batch_size, weight_decay, clip_grad, lambda_value, power, label_smoothing, temperature,
            absent_weight, seed: see
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
    absent_weight: float = 0.0
    seed: int = 0
    amp: torch.dtype | None = None
    changes: dict[str, Any] = field(default_factory=dict)


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
        temperature=setting.temperature, absent_weight=setting.absent_weight, loss_status=setting.sign,
        relative=isinstance(head, SlotModel) and head.slot.reference != "none",
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

"""Optimizer and learning-rate schedule."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tools import ToolError
from tools.checkpoint_content import is_finite

GAMMA = 0.1  # factor of the step schedule, as in torch's StepLR
FUSED_DEVICES = ("cuda", "cpu")  # devices on which torch has a fused AdamW


def step_factor(epoch: float, epochs: int, lr_drop: int) -> float:
    """Learning-rate factor that drops to a tenth after every ``lr_drop`` epochs."""
    return GAMMA ** (int(epoch) // lr_drop)


def cosine_factor(epoch: float, epochs: int, lr_drop: int) -> float:
    """Learning-rate factor that falls as half a cosine from 1 at the start to 0 after the last epoch."""
    return 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))


SCHEDULES: dict[str, Callable[[float, int, int], float]] = {"step": step_factor, "cosine": cosine_factor}


def build_optimizer(model: nn.Module, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """Build AdamW over the trainable parameters, fused where torch supports it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    fused = all(p.device.type in FUSED_DEVICES for p in parameters)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=fused)


def restore_optimizer(
    optimizer: torch.optim.Optimizer, state: dict[str, Any], *, lr: float, weight_decay: float
) -> None:  # fmt: skip
    """Load the moments of an optimizer; learning rate, weight decay and all other settings keep their current values.

    Raises:
        ValueError: the state belongs to other parameters.
        ToolError: its moments are damaged.
    """
    groups = [{**now, "params": then["params"]} for now, then in zip(optimizer.param_groups, state["param_groups"],
                                                                    strict=True)]  # fmt: skip
    optimizer.load_state_dict({**state, "param_groups": groups})
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            expected = torch.Size(()) if name == "step" else parameter.shape
            if not isinstance(value, torch.Tensor) or value.shape != expected or not is_finite(value):
                raise ToolError(f"--resume: '{name}' in the optimizer state of the checkpoint is damaged: give another "
                                "checkpoint")  # fmt: skip
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = lr, weight_decay
        group.pop("initial_lr", None)


def build_scheduler(
    optimizer: torch.optim.Optimizer, *, sched: str, steps_per_epoch: int, epochs: int, lr_drop: int,
    warmup_epochs: float, done: int = 0,
) -> LambdaLR:  # fmt: skip
    """Build the schedule, to be stepped after each optimizer step.

    It is a function of the epoch alone and has no state to save: a resumed run rebuilds it.

    Args:
        optimizer: optimizer to schedule.
        sched: a key of :data:`SCHEDULES`.
        steps_per_epoch: optimizer steps in an epoch.
        epochs: length of the run.
        lr_drop: epochs between drops of the step schedule.
        warmup_epochs: epochs over which the rate first rises linearly, on top of the schedule.
        done: number of optimizer steps so far, over all epochs.

    Raises:
        ValueError: an unknown schedule.
    """
    if sched not in SCHEDULES:
        raise ValueError(f"unknown schedule '{sched}': choose one of {', '.join(SCHEDULES)}")
    factor = SCHEDULES[sched]

    def scale(step: int) -> float:
        step += done
        warmup = min((step + 1) / (warmup_epochs * steps_per_epoch), 1.0) if warmup_epochs else 1.0
        # Rounding must not drop the rate a step early: 69.99999 is epoch 70.
        return warmup * factor(round(step / steps_per_epoch, 6), epochs, lr_drop)

    return LambdaLR(optimizer, scale)

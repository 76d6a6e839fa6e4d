"""Optimizer step from the losses of one or more batches: accumulation, precision, clipping, schedule, EMA."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from tools.machine import autocast


class Group(NamedTuple):
    """Position of a batch in the group of batches that make one optimizer step."""

    size: int  # batches in the group
    is_complete: bool  # whether this batch is the last of the group


class OptimStep:
    """Gradient accumulation, loss scaling, clipping, optimizer, schedule and EMA, in the order of a training step.

    A disabled part is still called, and does nothing.

    Args:
        model: the model that the training loop calls, wrapped if there are several processes.
        optimizer: stepped once for each group of batches.
        scheduler: stepped with the optimizer.
        device: device of the model.
        amp: precision of the forward pass, None for single precision. With float16 the loss is scaled, since small
            gradients would be lost.
        clip_grad: largest norm of the whole gradient; None does not clip.
        accum_steps: batches in a group; the last group of an epoch may have fewer. The cross entropy of a group is that
            of all its pictures, but its area loss is the mean over its batches, since the power of a mean is not the
            mean of powers.
        ema: exponential moving average of the weights of the unwrapped model.
        done: number of optimizer steps so far, over all epochs; the EMA warms up over them.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: LRScheduler, *, device: torch.device,
        amp: torch.dtype | None = None, clip_grad: float | None = None, accum_steps: int = 1,
        ema: ModelEmaV3 | None = None, done: int = 0,
    ) -> None:  # fmt: skip
        self.optimizer, self.scheduler, self.accum_steps, self.done = optimizer, scheduler, accum_steps, done
        self.lr = float(scheduler.get_last_lr()[0])  # of the last step
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
        self.autocast: Callable[[], AbstractContextManager] = partial(autocast, device, amp)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._clip: Callable[[], object] = _nothing
        if clip_grad is not None:
            self._clip = partial(nn.utils.clip_grad_norm_, parameters, clip_grad)
        self._update_ema: Callable[..., object] = _nothing
        if ema is not None:
            self._update_ema = partial(ema.update, _unwrapped(model))
        # Gradients are exchanged between processes once for each group, not for each batch.
        self._without_exchange: Callable[[], AbstractContextManager] = getattr(model, "no_sync", nullcontext)
        optimizer.zero_grad(set_to_none=True)

    def align(self, done: int) -> None:
        """Set the number of optimizer steps so far, in the schedule, too."""
        if done != self.done:
            self.scheduler.last_epoch += done - self.done - 1
            self.scheduler.step()
            self.done = done

    @contextmanager
    def batch(self, step: int, steps: int) -> Iterator[Group]:
        """Context of the forward and backward pass of batch ``step`` of the ``steps`` batches of an epoch."""
        first = step - step % self.accum_steps
        group = Group(min(self.accum_steps, steps - first), step + 1 in (first + self.accum_steps, steps))
        with nullcontext() if group.is_complete else self._without_exchange():
            yield group

    def backward(self, loss: Tensor, group: Group) -> None:
        """Accumulate the gradients of a batch; after the last batch of its group, change the weights."""
        self.scaler.scale(loss / group.size).backward()
        if group.is_complete:
            self._step()

    def _step(self) -> None:
        self.scaler.unscale_(self.optimizer)
        self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.lr = float(self.scheduler.get_last_lr()[0])
        self.scheduler.step()
        self.done += 1
        self._update_ema(step=self.done)


def _unwrapped(model: nn.Module) -> nn.Module:
    """Model itself, which processes and compilation wrap."""
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model


def _nothing(**_: object) -> None:
    """Do nothing, in place of a disabled part."""


def ema_of(model: nn.Module, decay: float | None) -> ModelEmaV3 | None:
    """EMA of a model's weights and buffers: timm's, with a warm-up, so that it soon forgets the initial weights.

    Args:
        model: the unwrapped model, on its device.
        decay: decay of the EMA per step, after its warm-up; None for no EMA.
    """
    return None if decay is None else ModelEmaV3(model, decay=decay, use_warmup=True)

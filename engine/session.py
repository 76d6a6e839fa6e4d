"""State of a training run, and how it is saved and restored."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dataset.loaders import DeviceLoader
from engine.best import Best
from engine.compiled import CompiledModel
from engine.optim import build_optimizer, build_scheduler, restore_optimizer
from engine.optim_step import OptimStep, ema_of
from engine.train import EpochStopped
from sloter import ModelError
from sloter.backbone import FeatureModel
from sloter.config import OPTIONS, differences
from sloter.loss import ScouterLoss
from tools import ToolError, distributed
from tools.distributed.random_state import random_states, restore_random_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """Training options; the help of the flags of the same names describes them."""

    epochs: int = 10
    start_epoch: int = 0
    seed: int = 0
    lr: float = 1e-4
    weight_decay: float = 0.01
    sched: str = "step"
    lr_drop: int = 70
    warmup_epochs: float = 0.0
    clip_grad: float | None = None
    accum_steps: int = 1
    ema: float | None = None
    compile: bool = False


class Session:
    """State of a training run: model, data, loss, optimizer and progress.

    Args:
        name: name of the run.
        model: the model on its device, with the initial weights of a new run.
        configs: ``model_config``, ``data_config``, ``initial_weights`` and ``train_config`` of the checkpoint.
        train_loader, val_loader: batches of the two splits.
        criterion: the loss, on the device.
        options: training options.
        device: device of the model.
        amp: precision of the forward pass, None for single precision.
        explained: (c), the class that a negative model explains for each true class, where it is known.
        best: the best epoch so far; that of a checkpoint is loaded into it.
        state: a checkpoint to continue from; None starts a new run.

    Attributes:
        start: first epoch to train.
        record: metrics of the last complete epoch.
        best_top1: best validation accuracy so far.
        wrapped: the model as the training loop calls it: compiled, shared by the processes.
        evaluator: the model as the evaluation calls it: the EMA if there is one, compiled.
        stopped: progress of the epoch in which the run was stopped; None between epochs.

    Raises:
        ToolError: ``state`` is of a run that trained other layers.
    """

    def __init__(
        self, name: str, model: FeatureModel, *, configs: dict[str, Any], train_loader: DeviceLoader,
        val_loader: DeviceLoader, criterion: ScouterLoss, options: TrainingOptions, device: torch.device,
        amp: torch.dtype | None = None, explained: torch.Tensor | None = None,
        best: Best | None = None, state: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.model, self.configs, self.options, self.device = name, model, configs, options, device
        self.train_loader, self.val_loader, self.criterion = train_loader, val_loader, criterion
        self.amp, self.explained = amp, explained
        self.record: dict[str, Any] = {}
        self.best = best or Best()
        self.best_top1, self.stopped = -1.0, None
        self.optimizer = build_optimizer(model, lr=options.lr, weight_decay=options.weight_decay)
        self.ema = ema_of(model, options.ema)
        trained: nn.Module = CompiledModel(model) if options.compile else model
        self.wrapped = distributed.wrap(trained, device)
        self.evaluator: nn.Module = trained
        if self.ema:
            self.evaluator = CompiledModel(self.ema.module) if options.compile else self.ema.module
        if state is None:
            self.best.epoch = options.start_epoch - 1
            self._begin(options.start_epoch)
        else:
            self.load_state_dict(state)

    @property
    def evaluated(self) -> FeatureModel:
        """Model that is evaluated and saved: the EMA, if there is one."""
        return self.ema.module if self.ema else self.model

    @property
    def class_names(self) -> list[str]:
        """Names of the model's outputs."""
        return self.configs["data_config"]["class_names"]

    @property
    def is_negative(self) -> bool:
        """Whether the model is a negative one."""
        return self.configs["model_config"].get("loss_status", 1) < 0

    def steps_per_epoch(self) -> int:
        """Optimizer steps in a whole epoch."""
        self.train_loader.set_epoch(0)
        return math.ceil(len(self.train_loader) / self.options.accum_steps)

    def state_dict(
        self, epoch: int, record: Mapping[str, Any], stopped: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:  # fmt: skip
        """Content of a checkpoint.

        Args:
            epoch: last complete epoch.
            record: its metrics.
            stopped: progress of the next epoch, from :meth:`stop`; None between epochs.
        """
        state = {
            **self.configs,
            "model": self.evaluated.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.optim_step.scaler.state_dict(),
            "epoch": epoch,
            "metrics": dict(record),
            "best_top1": max(self.best_top1, record.get("val_top1", -1.0)),
            "best": self.best.state_dict(),
        }
        if self.ema:
            state["raw_model"] = self.model.state_dict()
        if stopped:
            state["stopped"] = stopped
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the content of a checkpoint.

        Raises:
            ToolError: its run trained other layers, or its state is damaged.
        """
        with _damaged("the weights of the checkpoint do not fit its model"):
            self.model.load_state_dict(state.get("raw_model", state["model"]))
            if self.ema:
                self.ema.module.load_state_dict(state["model"])
        options = self.options
        try:
            with _damaged("the optimizer state of the checkpoint is damaged"):
                restore_optimizer(self.optimizer, state["optimizer"], lr=options.lr, weight_decay=options.weight_decay)
        except ToolError:
            raise
        except ValueError as error:
            frozen = state["train_config"].get("freeze_layers")
            raise ToolError(f"--resume: the checkpoint trained other layers (--freeze_layers {frozen}): give the same "
                            "--freeze_layers") from error  # fmt: skip
        self.record, self.best_top1, self.stopped = state["metrics"], state["best_top1"], state.get("stopped")
        self.best.load_state_dict(state)
        if self.stopped and not self._same_size(self.stopped):
            self.stopped = None
        self._begin(state["epoch"] + 1, self.stopped["share"] if self.stopped else 0.0)
        if state.get("scaler"):
            with _damaged("the loss scale of the checkpoint is damaged"):
                self.optim_step.scaler.load_state_dict(state["scaler"])

    def _same_size(self, stopped: Mapping[str, Any]) -> bool:
        """Whether the training set is as large as when an epoch was stopped; if not, a note says so."""
        now, images = len(self.train_loader.dataset), stopped["images"]
        before = stopped.get("pictures")  # earlier checkpoints do not have it
        if now == before or (before is None and images < now):
            return True
        logger.warning("there are %d training pictures, and there were %s when the run was stopped: the epoch begins "
                       "anew", now, before or f"at least {images}")  # fmt: skip
        return False

    def _begin(self, epoch: int, share: float = 0.0) -> None:
        """Build the schedule and the optimizer step, to continue after the fraction ``share`` of an epoch."""
        options, steps = self.options, self.steps_per_epoch()
        self.start, done = epoch, round((epoch + min(max(share, 0.0), 1.0)) * steps)
        scheduler = build_scheduler(
            self.optimizer, sched=options.sched, steps_per_epoch=steps, epochs=options.epochs, lr_drop=options.lr_drop,
            warmup_epochs=options.warmup_epochs, done=done,
        )  # fmt: skip
        self.optim_step = OptimStep(
            self.wrapped, self.optimizer, scheduler, device=self.device, amp=self.amp, clip_grad=options.clip_grad,
            accum_steps=options.accum_steps, ema=self.ema, done=done,
        )  # fmt: skip

    def begin_epoch(self, epoch: int) -> EpochStopped | None:
        """Set the order and the RNG state of an epoch; returns its progress if the run was stopped in it."""
        # Seeded anew in each epoch, so that a resumed run draws what the uninterrupted one would have drawn.
        torch.manual_seed(((self.options.seed * 1_000_003 + epoch) * 65_537 + distributed.rank()) % 2**63)
        if self.stopped is None:
            # The rest of an epoch that was continued in batches of another size has other steps than a whole one.
            self.optim_step.align(epoch * self.steps_per_epoch())
        self.train_loader.set_epoch(epoch)
        if self.stopped is None:
            return None
        before = EpochStopped(**{name: self.stopped[name] for name in ("images", "sums", "seconds")})
        self.train_loader.set_epoch(epoch, skip=before.images)
        restore_random_state(self.stopped["random"], self.device)
        self.stopped = None
        return before

    def stop(self, epoch: int, stopped: EpochStopped) -> dict[str, Any]:
        """Progress of a stopped epoch, to be saved; every process must call it."""
        return {
            "images": stopped.images, "sums": stopped.sums, "seconds": stopped.seconds,
            "share": min(max(self.optim_step.done / self.steps_per_epoch() - epoch, 0.0), 1.0),
            "random": random_states(self.device),
            "pictures": len(self.train_loader.dataset),
        }  # fmt: skip


@contextmanager
def _damaged(fault: str) -> Iterator[None]:
    """Say that a part of a checkpoint is damaged where torch cannot load it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()[:160]  # torch begins with a heading
        raise ToolError(f"--resume: {fault} ({reason}): give another checkpoint") from error


def check_same_model(config: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Raise unless a run with this model configuration can continue a checkpoint with the stored one.

    Raises:
        ToolError: the configurations differ; the message names the differences.
    """
    changed = [(key, value, stored.get(key)) for key, value in config.items()
               if key not in OPTIONS and value != stored.get(key)]  # fmt: skip
    try:
        if config["use_slot"] and stored["use_slot"]:
            changed += differences(config, stored, "forward", "training")
            # Any other reference gives the same training.
            changed += [d for d in differences(config, stored, "reading") if d[0] == "reference" and "none" in d]
    except ModelError as error:
        raise ToolError(f"--resume: {error}") from error
    if changed:
        text = "; ".join(f"{key} {then}, not {now}" for key, now, then in changed)
        raise ToolError(f"--resume: the checkpoint's model differs from that of the flags: it has {text}; give the "
                        "flags that it was trained with")  # fmt: skip

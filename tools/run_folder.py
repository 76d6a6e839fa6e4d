"""The folder of a run: which checkpoint a run continues from."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools import ToolError, checkpoint, distributed
from tools.console import say

logger = logging.getLogger(__name__)


def find(folder: str, name: str, resume: str | None) -> dict[str, Any] | None:
    """The checkpoint to continue from; None to start from the beginning.

    Args:
        folder: of the run; empty if nothing is saved.
        name: of the run.
        resume: a file, ``auto`` for the checkpoint in the folder if there is one, None for a new run.

    Raises:
        ToolError: a file that cannot be continued from, or processes that see different checkpoints.
    """
    last = checkpoint.checkpoint_path(folder, name)
    is_there = bool(folder) and last.is_file()
    if is_there and resume != "auto" and _written_by_this_launch(last):
        resume = "auto"
    if distributed.restarts():
        found = f"continuing from {last}" if is_there and resume == "auto" else "it had saved no epoch"
        say(f"restart {distributed.restarts()}: {found}")
    state = None
    if resume is not None and (is_there or resume != "auto"):
        state = _continuable(last if resume == "auto" else Path(resume))
    elif is_there:
        logger.warning("%s exists and will be replaced; --resume auto continues from it instead", last)
    _check_same_start(state)
    return state


def _written_by_this_launch(last: Path) -> bool:
    """Whether an earlier attempt of this launch wrote the checkpoint; one from before it is of another run."""
    written = str(last.stat().st_mtime_ns)
    if not distributed.restarts():
        distributed.keep(str(last), written)
        return False
    return distributed.kept(str(last)) != written


def _continuable(path: Path) -> dict[str, Any]:
    state = checkpoint.load(path)
    if "optimizer" not in state:
        raise ToolError(f"--resume {path}: the published code wrote it, without an optimizer state to continue from")
    return state


def _check_same_start(state: dict[str, Any] | None) -> None:
    """Processes that see different checkpoints would train different models, and wait for each other in vain."""
    stopped = state.get("stopped") if state else None
    starts = distributed.gather([(state["epoch"] + 1 if state else 0, stopped["images"] if stopped else 0)])
    if len(set(starts)) > 1:
        epochs = ", ".join(str(epoch) for epoch, _ in starts)
        raise ToolError(f"the processes would start from different places (epochs {epochs}): all of them "
                        "must see the same --output_dir, or --resume FILE")  # fmt: skip


# Flags that change what a run trains.
TOLD = ("lr", "sched", "lr_drop", "warmup_epochs", "batch_size", "accum_steps", "ema", "amp", "weight_decay",
        "clip_grad", "lambda_value", "power", "class_weights", "label_smoothing", "temperature", "aug", "aug_policy",
        "seed", "epochs")  # fmt: skip


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What a continued run trains otherwise than before, in brackets; empty if nothing."""
    told = [f"{name} {now[name]}, before {before[name]}" for name in TOLD if now[name] != before.get(name, now[name])]
    return f" (changed: {'; '.join(told)})" if told else ""

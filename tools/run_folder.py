"""Choice of the checkpoint that a run continues from."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools import ToolError, checkpoint, distributed
from tools.console import say
from tools.distributed import launch

logger = logging.getLogger(__name__)


def find(folder: str, name: str, resume: str | None) -> dict[str, Any] | None:
    """Checkpoint to continue from; None for a run that starts from the beginning.

    Args:
        folder: the run's folder; empty if nothing is saved.
        name: the run's name.
        resume: a file, ``auto`` for the checkpoint in the folder if there is one, None for a new run.

    Raises:
        ToolError: a run cannot continue from the file, or the processes see different checkpoints.
    """
    last = checkpoint.checkpoint_path(folder, name)
    exists = bool(folder) and last.is_file()
    if exists and resume != "auto" and _written_by_this_launch(last):
        resume = "auto"
    if launch.restarts():
        found = f"continuing from {last}" if exists and resume == "auto" else "no epoch was saved before it"
        say(f"restart {launch.restarts()}: {found}")
    state = None
    if resume is not None and (exists or resume != "auto"):
        state = _continuable(last if resume == "auto" else Path(resume))
    elif exists:
        logger.warning("%s exists and will be replaced; --resume auto continues from it instead", last)
    _check_same_start(state)
    return state


def _written_by_this_launch(last: Path) -> bool:
    """Whether an earlier attempt of this launch wrote the checkpoint; an older one belongs to another run."""
    written = str(last.stat().st_mtime_ns)
    if not launch.restarts():
        distributed.remember(str(last), written)
        return False
    return distributed.recall(str(last)) != written


def _continuable(path: Path) -> dict[str, Any]:
    state = checkpoint.load(path)
    if "optimizer" not in state:
        raise ToolError(f"--resume {path}: a checkpoint of the published code has no optimizer state to continue from; "
                        "evaluate it with test.py --checkpoint")  # fmt: skip
    if missing := [key for key in ("metrics", "best_top1") if key not in state]:
        raise ToolError(
            f"--resume {path}: {missing[0]} is missing; the file is damaged or was changed: give another one"
        )
    return state


def _check_same_start(state: dict[str, Any] | None) -> None:
    """Raise if processes would continue from different checkpoints: they would train different models and hang."""
    stopped = state.get("stopped") if state else None
    starts = distributed.gather([(state["epoch"] + 1 if state else 0, stopped["images"] if stopped else 0)])
    if len(set(starts)) > 1:
        epochs = ", ".join(str(epoch) for epoch, _ in starts)
        raise ToolError(f"the processes would start from different epochs ({epochs}): all of them must "
                        "see the same --output_dir, or --resume FILE")  # fmt: skip


# Flags whose values influence the training.
TRAINING_FLAGS = ("lr", "sched", "lr_drop", "warmup_epochs", "batch_size", "accum_steps", "ema", "amp",
                  "weight_decay", "clip_grad", "lambda_value", "power", "class_weights", "label_smoothing",
                  "temperature", "absent_weight", "aug", "aug_policy", "seed", "epochs")  # fmt: skip


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Training flags of a continued run that differ from before, in brackets; empty if there are none."""
    changed = [name for name in TRAINING_FLAGS if now[name] != before.get(name, now[name])]
    text = "; ".join(f"{name} {now[name]}, before {before[name]}" for name in changed)
    return f" (changed: {text})" if changed else ""

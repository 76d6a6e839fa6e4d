"""Checkpoints in the folder of a run: the one that it continues from, and which of them belong to the same run."""

import logging
import secrets
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
        state["best_top1"] = best_in(folder, name, state)
        if state["best_top1"] < 0 and "best" in state:  # the metric stays
            state["best"] = {**state["best"], "value": None, "epoch": state["epoch"]}
    elif exists:
        logger.warning("%s exists and will be replaced; --resume auto continues from it instead", last)
    _check_same_start(state)
    return state


def run_id(state: Mapping[str, Any] | None) -> str:
    """Identity of a run, random, which its checkpoints share: that of the checkpoint it continues, or a new one."""
    return state.get("run_id", "") if state else secrets.token_hex(8)


def best_in(folder: str, name: str, state: Mapping[str, Any]) -> float:
    """Validation accuracy that a continued run must exceed to replace the best checkpoint in its folder.

    It is that of the file if this run wrote it, up to the epoch that is continued. Another one, such as that of a run
    with another seed, or of epochs that are trained again, is replaced after the next epoch.
    """
    path = checkpoint.checkpoint_path(folder, name, "_best")
    best = checkpoint.read_head(path) if folder else {}
    own = same_run(best, state) and best.get("epoch", 0) <= state["epoch"]
    key = "best" if "best" in state else "best_top1"  # by another metric, the file need not have the best accuracy
    if own and best.get(key) == state[key]:
        return state["best_top1"]
    if folder and state["epoch"] >= 0:
        logger.warning("%s is not the best epoch of the run that is continued: the best of the next epochs will be "
                       "saved there", path)  # fmt: skip
    return -1.0


def same_run(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two checkpoints are of one run; before version 0.2.0 they name its seed alone."""
    if "run_id" in first or "run_id" in second:
        return first.get("run_id") == second.get("run_id")
    seeds = [content.get("train_config", {}).get("seed") for content in (first, second)]
    return seeds[0] == seeds[1]


def load_tested(path: Path) -> dict[str, Any]:
    """Load a checkpoint to be tested, with a note if it is a best or numbered one of another run than the last one.

    Raises:
        ToolError: see :func:`tools.checkpoint.load`.
    """
    state = checkpoint.load(path)
    stem, found, suffix = path.stem.rpartition("_checkpoint")
    last = path.with_name(f"{stem}_checkpoint{path.suffix}")
    if found and suffix and last.is_file() and (other := checkpoint.read_head(last)) and not same_run(state, other):
        seeds = [content.get("train_config", {}).get("seed") for content in (state, other)]
        logger.warning(
            "%s is of another run (seed %s) than %s beside it (seed %s)", path, seeds[0], last.name, seeds[1]
        )
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
    place = (state["epoch"] + 1 if state else 0, stopped["images"] if stopped else 0)
    starts = distributed.gather([(*place, state.get("run_id") if state else None)])
    if len(set(starts)) > 1:
        epochs = ", ".join(str(epoch) for epoch, *_ in starts)
        kind = "epochs" if len({start[:2] for start in starts}) > 1 else "runs, at epochs"
        raise ToolError(f"the processes would start from different {kind} ({epochs}): all of them must "
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

"""Sweeps: runs over combinations of flags and seeds, one folder each, resumable, with one table of all runs."""

import json
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import ToolError
from tools.checkpoint_content import is_real
from tools.console import format_table, say
from tools.distributed import barrier, is_main
from tools.distributed.launch import command_line
from tools.distributed.preemption import Interrupted, StopRequest
from tools.files import check_outputs, has_keys, keep_foreign, read_json, save_csv, writable_folder, write_atomically
from tools.folder_lock import held
from tools.original_checkpoint import renamed_options
from tools.provenance import data_text

logger = logging.getLogger(__name__)

AVERAGED = "fold"  # the swept flag over whose values the table gives mean and standard deviation
DONE = "done.json"
SETTINGS = "settings.json"
MARKS = {DONE: ("val_top1",), SETTINGS: ("seed", "lr")}  # keys by which these files are known
CLASS_METRICS = ("val_balanced_accuracy", "val_auroc")  # only with --checkpoint_metric of one of them
METRICS = ("val_top1", "val_top5", "val_loss", "val_attn_mean", "val_area")
# Flags that may differ when a sweep is continued, since they do not change what is trained.
FLAGS_FREE_TO_CHANGE = frozenset({
    "cache", "channels_last", "compile", "device", "dist_url", "grad_checkpointing", "iterated_evaluation_num",
    "local_rank", "num_workers", "output_dir", "pre_dir", "repeat", "resume", "swept", "tensorboard", "tf32", "threads",
    "vis", "vis_dir", "vis_format", "vis_id", "world_size",
})  # fmt: skip


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        swept: the values of the swept flags.
        repeat: its number among the repeats; None without repeats.
        settings: all its flags, as plain types.
    """

    swept: Mapping[str, Any]
    repeat: int | None
    settings: Mapping[str, Any]


def run_all(
    root: str, runs: Sequence[SweepRun], train: Callable[[int, str], dict[str, Any]], *,
    failures: tuple[type[Exception], ...] = (), stop: StopRequest | None = None,
) -> None:  # fmt: skip
    """Train the runs that are not complete yet, each in its folder; print and save the table of all runs.

    Args:
        root: the sweep's folder; empty to save nothing.
        runs: all runs.
        train: maps the number of a run and its folder to the record of its last epoch.
        failures: errors that end a run but not the sweep.
        stop: asked after each run but the last whether to start the next one.

    Raises:
        Interrupted: a signal arrived that did not stop the run, in the evaluation of its last epoch.
        ToolError: a run failed (the table of the others is saved), a folder belongs to another sweep, or another
            process trains a sweep in ``root``.
    """
    with held(root, "sweep"):
        if root:
            check_outputs(Path(root, "sweep.csv"), Path(root, "sweep_runs.csv"))
        _run_all(root, runs, train, failures, stop)


def _run_all(
    root: str, runs: Sequence[SweepRun], train: Callable[[int, str], dict[str, Any]],
    failures: tuple[type[Exception], ...], stop: StopRequest | None,
) -> None:  # fmt: skip
    """Train the runs while this process holds the lock of the sweep; arguments as for :func:`run_all`."""
    rows, failed = [], []
    for number, run in enumerate(runs):
        folder = run_folder(root, run.swept, run.repeat) if root else ""
        settings = {name: value for name, value in run.settings.items() if name not in FLAGS_FREE_TO_CHANGE}
        record = finished(folder, settings) if root else None
        title = ", ".join([*(f"{name} {value}" for name, value in run.swept.items()), f"seed {run.settings['seed']}"])
        say(f"run {number + 1}/{len(runs)}: {title}{' (complete)' if record else ''}")
        if record is None:
            _save(folder, SETTINGS, settings)
            try:
                record = train(number, folder)
            except failures as error:
                say(f"run {number + 1}/{len(runs)} failed: {error}")
                failed.append(f"{title} ({error})")
            else:
                _save(folder, DONE, record)
                barrier()
            if stop and number + 1 < len(runs) and stop.anywhere():
                again = f"continue with: {command_line()}" if root else "nothing is saved, since --output_dir is empty"
                raise Interrupted(f"{stop.signal}: stopped after run {number + 1} of {len(runs)}; {again}")
        if record:
            rows.append({**run.swept, "repeat": run.repeat or 0, "seed": run.settings["seed"], **record})
    if rows:
        _warn_of_other_pictures(rows)
        _report(root, rows, [name for name in runs[0].swept if name != AVERAGED])
    if failed:
        raise ToolError(f"{len(failed)} of {len(runs)} runs failed: {failed[0]}")


def _warn_of_other_pictures(rows: Sequence[Mapping[str, Any]]) -> None:
    """Warn if files were added, removed or renamed between two runs on the same classes.

    A fold, or a validation split that is drawn, is then another one, and may share pictures with that of another run.
    """
    for c in dict.fromkeys(row.get("num_classes") for row in rows):
        found = {row["all_pictures"] for row in rows if row.get("num_classes") == c and row.get("all_pictures")}
        if len(found) > 1:
            logger.warning("the runs are of %d different sets of pictures, so that their mean and deviation mix other "
                           "splits: train all of them again in another --output_dir", len(found))  # fmt: skip


def _save(folder: str, name: str, content: Mapping[str, Any]) -> None:
    """Write a JSON file of a run, from the main process alone; nothing without a folder."""
    if folder and is_main():
        path = writable_folder(folder) / name
        keep_foreign(path, has_keys(*MARKS[name]))
        write_atomically(path, json.dumps(content, indent=2).encode())


def _report(root: str, rows: Sequence[Mapping[str, Any]], swept: Sequence[str]) -> None:
    """Print the table of the sweep and save it, and the rows of all runs next to it."""
    table = summarise(rows, swept, [name for name in (*METRICS, *CLASS_METRICS) if name in rows[0]])
    say(format_table(table), several=True)
    if root and is_main():
        save_csv(Path(root, "sweep_runs.csv"), rows, columns=("repeat", "seed"))
        table = [{**entry, "data": _data(entry, rows, swept)} for entry in table]
        save_csv(Path(root, "sweep.csv"), table, columns=("runs",))
        say(f"this table: {Path(root, 'sweep.csv')}; every run: {Path(root, 'sweep_runs.csv')}")


def _data(entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], swept: Sequence[str]) -> str:
    """Data of the runs that an entry of the table summarises."""
    own = [row for row in rows if all(row[name] == entry[name] for name in swept)]
    return "; ".join(dict.fromkeys(filter(None, map(data_text, own))))


def run_folder(root: str, swept: Mapping[str, Any], repeat: int | None) -> str:
    """Folder of a run, named after its swept flags and its repeat, for example ``lambda_value=3.0/run1``."""
    parts = ["_".join(f"{name}={value}" for name, value in swept.items())] if swept else []
    if repeat is not None:
        parts.append(f"run{repeat}")
    return str(Path(root, *parts))


def finished(folder: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Final record of a complete run; None for an incomplete one.

    A damaged record does not count: the run then continues from its checkpoint and writes it again.

    Raises:
        ToolError: the folder holds a run with other settings, or its settings cannot be read.
    """
    path, done = Path(folder, SETTINGS), Path(folder, DONE)
    if path.is_file() and (done.is_file() or any(Path(folder).glob("*.pth"))):  # else its training has saved nothing
        before = read_json(path)
        if before is None:
            raise ToolError(f"{path} is damaged, so that it is unknown whose run the folder holds: give another "
                            "--output_dir, or remove the file if the run is of this sweep")  # fmt: skip
        before = renamed_options(before)  # a sweep may have been begun by an earlier version
        now = json.loads(json.dumps(settings))  # tuples become lists, as in the file
        for name, value in now.items():
            if name in before and before[name] != value:
                raise ToolError(f"{folder} holds a run of another sweep ({name} {before[name]}, now {settings[name]}): "
                                "give another --output_dir")  # fmt: skip
    if not done.is_file():
        return None
    record = read_json(done)
    if record is None or not all(is_real(record.get(name, 0)) for name in METRICS) or "val_top1" not in record:
        logger.warning("%s is damaged: the run continues from its checkpoint, if there is one", done)
        return None
    return record


def summarise(rows: Sequence[Mapping[str, Any]], swept: Sequence[str], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of mean and sample standard deviation over repeats, one for each combination of swept values."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in swept), []).append(row)
    table = []
    for key, members in groups.items():
        entry: dict[str, Any] = {**dict(zip(swept, key, strict=True)), "runs": len(members)}
        for metric in metrics:
            values = [float(member[metric]) for member in members]
            entry[metric] = statistics.fmean(values)
            entry[f"{metric}_std"] = statistics.stdev(values) if len(values) > 1 else float("nan")
        table.append(entry)
    return table

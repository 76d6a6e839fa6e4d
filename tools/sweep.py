"""Sweeps: many runs in folders of their own, which go on where they were, and one table of them all."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import ToolError
from tools.console import format_table, say
from tools.distributed import barrier, is_main
from tools.files import save_csv, writable_folder, write_atomically

DONE = "done.json"
SETTINGS = "settings.json"
FIGURES = ("val_top1", "val_top5", "val_loss", "val_attn_mean", "val_area")
# Flags that may differ when a sweep is taken up again, for they do not change what is trained.
FREE = frozenset({
    "channels_last", "compile", "device", "dist_url", "grad_checkpointing", "iterated_evaluation_num", "local_rank",
    "num_workers", "output_dir", "pre_dir", "repeat", "resume", "swept", "tensorboard", "tf32", "vis", "vis_dir",
    "vis_id", "world_size",
})  # fmt: skip


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        swept: the values that set it apart.
        repeat: its number among the repeats; None if there is one only.
        settings: all its flags, plain.
    """

    swept: Mapping[str, Any]
    repeat: int | None
    settings: Mapping[str, Any]


def run_all(
    root: str,
    runs: Sequence[SweepRun],
    train: Callable[[int, str], dict[str, Any]],
    *,
    failures: tuple[type[Exception], ...] = (),
) -> None:
    """Train the runs that are not complete yet, each in its folder, and show and save the table of all.

    Args:
        root: the folder of the sweep; empty to save nothing.
        runs: all of them.
        train: (number of the run, its folder) to the record of its last epoch.
        failures: what a run may end with without ending the others.

    Raises:
        ToolError: some runs failed; the table of the others is there.
    """
    rows, failed = [], []
    for number, run in enumerate(runs):
        folder = run_folder(root, run.swept, run.repeat) if root else ""
        settings = {name: value for name, value in run.settings.items() if name not in FREE}
        record = finished(folder, settings) if root else None
        what = ", ".join([*(f"{name} {value}" for name, value in run.swept.items()), f"seed {run.settings['seed']}"])
        say(f"run {number + 1}/{len(runs)}: {what}{' (complete)' if record else ''}")
        if record is None:
            if root and is_main():
                writable_folder(folder)
                _write(Path(folder, SETTINGS), settings)
            try:
                record = train(number, folder)
            except failures as error:
                say(f"run {number + 1}/{len(runs)} failed: {error}")
                failed.append(f"{what} ({error})")
                continue
            if root and is_main():
                _write(Path(folder, DONE), record)
            barrier()
        rows.append({**run.swept, "repeat": run.repeat or 0, "seed": run.settings["seed"], **record})
    if rows:
        table = summarise(rows, list(runs[0].swept), [name for name in FIGURES if name in rows[0]])
        say(format_table(table))
        if root and is_main():
            save_csv(Path(root, "sweep_runs.csv"), rows)
            save_csv(Path(root, "sweep.csv"), table)
            say(f"this table: {Path(root, 'sweep.csv')}; every run: {Path(root, 'sweep_runs.csv')}")
    if failed:
        raise ToolError(f"{len(failed)} of {len(runs)} runs failed: {failed[0]}")


def run_folder(root: str, swept: Mapping[str, Any], repeat: int | None) -> str:
    """The folder of one run, named after what sets it apart, for instance ``lambda_value=3.0/run1``."""
    parts = ["_".join(f"{name}={value}" for name, value in swept.items())] if swept else []
    if repeat is not None:
        parts.append(f"run{repeat}")
    return str(Path(root, *parts))


def finished(folder: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The final record of a run that is already complete, None of one that is not.

    Raises:
        ToolError: the folder holds a run with other settings.
    """
    path = Path(folder, SETTINGS)
    if path.is_file():
        before = json.loads(path.read_text())
        changed = [
            name for name in settings if name in before and before[name] != json.loads(json.dumps(settings[name]))
        ]
        if changed:
            name = changed[0]
            raise ToolError(
                f"{folder} holds a run of another sweep ({name} {before.get(name)}, now {settings[name]}): "
                "give another --output_dir"
            )
    done = Path(folder, DONE)
    return json.loads(done.read_text()) if done.is_file() else None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2).encode())


def summarise(rows: Sequence[Mapping[str, Any]], swept: Sequence[str], figures: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each combination of the swept values: mean and sample standard deviation of its repeats."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in swept), []).append(row)
    table = []
    for key, members in groups.items():
        entry: dict[str, Any] = {**dict(zip(swept, key, strict=True)), "runs": len(members)}
        for figure in figures:
            values = [float(member[figure]) for member in members]
            entry[figure] = statistics.fmean(values)
            entry[f"{figure}_std"] = statistics.stdev(values) if len(values) > 1 else float("nan")
        table.append(entry)
    return table

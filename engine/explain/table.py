"""Table of explanation metrics: ``metrics.json``, ``metrics.csv``, ``metrics.png``, and a printed table."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.explain.metrics import registry
from engine.explain.settings import DEFAULT_METRICS, METRIC_NAMES
from tools import VERSION, ToolError
from tools.checkpoint_content import is_real
from tools.console import format_table, say
from tools.figures.metrics import save_metric_figure
from tools.files import check_outputs, save_csv, write_atomically
from tools.folder_lock import updating
from tools.provenance import DATA, data_text, mixed

logger = logging.getLogger(__name__)

PAPER_COLUMNS = ("area", "precision", "iauc", "dauc", "infidelity", "sensitivity")
COLUMNS = (*PAPER_COLUMNS, *(column for column in registry.COLUMNS if column not in PAPER_COLUMNS))
GROUPS: dict[str, tuple[str, ...]] = {
    "": (*PAPER_COLUMNS, "pointing", "energy", "iauc_true", "dauc_true"),
    "dependence on the class and on the model": ("grid_2x2", "grid_3x3", "random_head", "mprt"),
    "effect on the prediction": ("completeness", "completeness_gap", "road", "average_drop", "increase"),
    "places and stability": ("rank_accuracy", "auc", "gini", "entropy", "stability_shift", "stability_jpeg"),
}
"""Columns of each table on the screen and in the report, by its title; one with all of them would be too wide."""
SCIENTIFIC = ("completeness", "completeness_gap")  # columns of values near 0
KEY = ("checkpoint", "method", *DATA, "cam_layer", "img_size", "reference")  # two rows differ in one of these


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a ``metrics.json``, or of the one in a folder.

    Raises:
        ToolError: there is no such file, or it has other content.
    """
    path = path / "metrics.json" if path.is_dir() else path
    if path.exists() and not path.is_file():
        raise ToolError(f"{path} is not a file: give a metrics.json, or the folder of one")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise ValueError("rows")
    except OSError as error:
        raise ToolError(
            f"{path} cannot be read: {error.strerror}; test.py or torchcam_vis.py with --explain_metrics true writes it"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ToolError(f"{path} is not a metrics.json of this program: move it away") from error
    return rows


def _is_row(row: Any) -> bool:
    """Whether a row has a method, finite metrics and means, and intervals and quartiles of two numbers each."""
    if not isinstance(row, dict) or not isinstance(row.get("method"), str) or not is_real(row.get("images", 0)):
        return False
    for pairs in (row.get("intervals", {}), row.get("quartiles", {})):
        if not isinstance(pairs, dict) or not all(
            isinstance(ends, list) and len(ends) == 2 and all(map(is_real, ends)) for ends in pairs.values()
        ):
            return False
    means = row.get("means", {})
    if not isinstance(means, dict) or not all(map(is_real, means.values())):
        return False
    return all(is_real(row.get(name, 0.0)) for name in COLUMNS)


def check_table(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of the table of a folder; none if there is no table yet.

    Raises:
        ToolError: its ``metrics.json`` is not a table; it is not overwritten. Or one of the three is not a file.
    """
    check_outputs(*(folder / f"metrics.{ending}" for ending in ("json", "csv", "png")))
    return read_metrics(folder) if (folder / "metrics.json").exists() else []


def key_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Values of :data:`KEY` in a row, which identify it."""
    return tuple(json.dumps(row.get(name)) for name in KEY)


def add_row(folder: Path, row: Mapping[str, Any], *, show: bool = False) -> list[dict[str, Any]]:
    """Add a row to the table of a folder, or replace the one with the same :data:`KEY`; returns all rows.

    Metrics that the row does not have are kept from the one that it replaces, if both are of the same state of the
    checkpoint, the same number of pictures and the same settings.

    Args:
        folder: folder of the checkpoint.
        row: the metrics of one checkpoint and method.
        show: print the table afterwards.
    """
    with updating(folder / "metrics.json"):  # test.py and torchcam_vis.py may measure at the same time
        before, row = check_table(folder), dict(row)
        for old in before:
            if key_of(old) == key_of(row):
                row = _with_metrics_of(old, row)
            if key_of(old) == key_of(row) and old.get("images", 0) > row.get("images", 0):
                logger.warning(
                    "%s: a row of %d pictures replaces one of %d", row["method"], row["images"], old["images"]
                )
        kept = [old for old in before if key_of(old) != key_of(row)]
        rows = write_table(folder, [*kept, {**row, "version": VERSION}])
    if show:
        show_table(folder, rows)
    return rows


def _with_metrics_of(old: Mapping[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Row with those metrics of an old one of the same measurement that it does not have."""
    same = all(old.get(name) == row.get(name) for name in ("checkpoint_id", "images", "map", "explained"))
    for name in ("settings", "method_settings"):
        then, now = old.get(name) or {}, row.get(name) or {}
        same &= all(then[key] == now[key] for key in then.keys() & now.keys())
    kept = [name for name in COLUMNS if name in old and name not in row]
    if kept and not same:
        logger.warning("%s: %s are gone from the table: they were measured with another state of the checkpoint, other "
                       "pictures or other settings", row["method"], ", ".join(kept))  # fmt: skip
    if not same or not kept:
        return row
    merged = {**row, **{name: old[name] for name in kept}}
    for part in ("intervals", "quartiles", "means"):
        pairs = {name: value for name, value in old.get(part, {}).items() if name in kept} | row.get(part, {})
        merged |= {part: pairs} if pairs else {}
    names = {*old.get("metrics", DEFAULT_METRICS), *row.get("metrics", ())}
    seconds = row.get("scoring_seconds", 0) + old.get("scoring_seconds", 0)
    return {**merged, "metrics": [name for name in METRIC_NAMES if name in names], "scoring_seconds": seconds}


def show_table(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the table of a folder and the files that it is saved in."""
    for title, cells in metric_tables(rows).items():
        say("\n".join(filter(None, [title, format_table(cells)])), several=True)
    for fault in mixed(rows):
        logger.warning(fault)
    say(f"saved: {folder / 'metrics.json'}, metrics.csv and metrics.png beside it")


def write_table(folder: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the three files of a table; returns its rows."""
    write_atomically(
        folder / "metrics.json", (json.dumps({"rows": list(rows)}, indent=2, allow_nan=False) + "\n").encode()
    )
    save_csv(folder / "metrics.csv", [_flat(row) for row in rows], columns=("checkpoint", "method"))
    more = {name: registry.better(name) for title, names in GROUPS.items() if title for name in names}
    save_metric_figure(folder / "metrics.png", rows, more=more)
    return list(rows)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Row of the CSV file: every column, each followed by the ends of its interval."""
    flat = {key: row.get(key, "") for key in (*KEY, "checkpoint_id", "top1", "images", "scoring_seconds")}
    for name in COLUMNS:
        low, high = row.get("intervals", {}).get(name, ("", ""))
        flat |= {name: row.get(name, ""), f"{name}_low": low, f"{name}_high": high}
        if name in registry.MEDIANS:
            low, high = row.get("quartiles", {}).get(name, ("", ""))
            flat |= {f"{name}_mean": row.get("means", {}).get(name, ""), f"{name}_q1": low, f"{name}_q3": high}
    return flat


def metric_tables(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """Tables for the screen by their titles: a table for each of :data:`GROUPS` of which some row has a metric.

    The first has no title; the others say which direction is better.
    """
    found = {}
    for title, names in GROUPS.items():
        own = [name for name in names if any(name in row for row in rows)]
        if own:
            having = [row for row in rows if any(name in row for name in own)]
            found[f"{title} ({directions(own)})" if title else ""] = metric_cells(having, own)
    return found or {"": metric_cells(rows)}


def directions(names: Sequence[str]) -> str:
    """Which direction of some columns is better, in words."""
    words: dict[str, list[str]] = {}
    for name in names:
        words.setdefault(registry.better(name), []).append(name)
    return "better: " + "; ".join(f"{', '.join(of)} {word}" for word, of in words.items())


def metric_cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> list[dict[str, str]]:
    """Rows of a table: each mean or median with half the width of its interval; empty columns are left out.

    Rows of different data say which.
    """
    shown = [name for name in columns if any(name in row for row in rows)]
    several = len({row.get("checkpoint") for row in rows}) > 1
    other_data = len({data_text(row) for row in rows}) > 1
    lines = []
    for row in rows:
        line = {"checkpoint": str(row.get("checkpoint", ""))} if several else {}
        line |= {"data": data_text(row) or "unknown data"} if other_data else {}
        line |= {"method": str(row["method"]), "images": str(row.get("images", ""))}
        lines.append({**line, **{name: _cell(row, name) for name in shown}})
    return lines


def _cell(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return "-"
    low, high = row.get("intervals", {}).get(name, (math.nan, math.nan))
    if name in SCIENTIFIC:
        return f"{row[name]:.1e}"
    return f"{row[name]:.4f}" + (f" ±{(high - low) / 2:.3f}" if math.isfinite(high - low) else "")

"""Table of explanation metrics: ``metrics.json``, ``metrics.csv``, ``metrics.png``, and a printed table."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.explain.metrics import registry
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
    """Whether a row has a method, finite metrics, and intervals of two numbers each."""
    if not isinstance(row, dict) or not isinstance(row.get("method"), str) or not is_real(row.get("images", 0)):
        return False
    intervals = row.get("intervals", {})
    if not isinstance(intervals, dict) or not all(
        isinstance(ends, list) and len(ends) == 2 and all(map(is_real, ends)) for ends in intervals.values()
    ):
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

    Args:
        folder: folder of the checkpoint.
        row: the metrics of one checkpoint and method.
        show: print the table afterwards.
    """
    with updating(folder / "metrics.json"):  # test.py and torchcam_vis.py may measure at the same time
        before = check_table(folder)
        for old in before:
            if key_of(old) == key_of(row) and old.get("images", 0) > row.get("images", 0):
                logger.warning(
                    "%s: a row of %d pictures replaces one of %d", row["method"], row["images"], old["images"]
                )
        kept = [old for old in before if key_of(old) != key_of(row)]
        rows = write_table(folder, [*kept, {**row, "version": VERSION}])
    if show:
        show_table(folder, rows)
    return rows


def show_table(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the table of a folder and the files that it is saved in."""
    say(format_table(metric_cells(rows)), several=True)
    for fault in mixed(rows):
        logger.warning(fault)
    say(f"saved: {folder / 'metrics.json'}, metrics.csv and metrics.png beside it")


def write_table(folder: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the three files of a table; returns its rows."""
    write_atomically(
        folder / "metrics.json", (json.dumps({"rows": list(rows)}, indent=2, allow_nan=False) + "\n").encode()
    )
    save_csv(folder / "metrics.csv", [_flat(row) for row in rows], columns=("checkpoint", "method"))
    save_metric_figure(folder / "metrics.png", rows)
    return list(rows)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Row of the CSV file: every column, each followed by the ends of its interval."""
    flat = {key: row.get(key, "") for key in (*KEY, "checkpoint_id", "top1", "images", "scoring_seconds")}
    for name in COLUMNS:
        low, high = row.get("intervals", {}).get(name, ("", ""))
        flat |= {name: row.get(name, ""), f"{name}_low": low, f"{name}_high": high}
    return flat


def metric_cells(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows for the screen: each mean with half the width of its interval; empty columns are left out.

    Rows of different data say which.
    """
    shown = [name for name in COLUMNS if any(name in row for row in rows)]
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
    return f"{row[name]:.4f}" + (f" ±{(high - low) / 2:.3f}" if math.isfinite(high - low) else "")

"""The table of explanation scores: ``metrics.json``, ``metrics.csv``, a picture, and the lines on the screen."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from tools import ToolError
from tools.checkpoint import write_atomically
from tools.draw import save_figure
from tools.logger import save_csv

logger = logging.getLogger(__name__)

# The paper's columns first, then what it does not have.
COLUMNS = ("area", "precision", "iauc", "dauc", "infidelity", "sensitivity", "pointing", "energy", "iauc_true",
           "dauc_true")  # fmt: skip
KEY = ("checkpoint", "method", "dataset", "cam_layer", "img_size")  # what makes a row another row


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``metrics.json``, or of that in a folder.

    Raises:
        ToolError: there is none, or it is something else.
    """
    path = path / "metrics.json" if path.is_dir() else path
    try:
        rows = json.loads(path.read_text())["rows"]
        good = isinstance(rows, list) and all(isinstance(row, dict) and "method" in row for row in rows)
        if not good or any(not isinstance(row.get(name, 0.0), int | float) for row in rows for name in COLUMNS):
            raise ValueError("rows")
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}; test.py --explain_metrics true makes it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{path} is no metrics.json of this program: move it away, or mend it") from error
    return rows


def rows_so_far(folder: Path) -> list[dict[str, Any]]:
    """The rows of a folder that new ones will be added to, none if there is no table yet.

    Raises:
        ToolError: there is a file, but no table in it; it is not overwritten.
    """
    return read_metrics(folder) if (folder / "metrics.json").exists() else []


def key_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells a row from others."""
    return tuple(json.dumps(row.get(name)) for name in KEY)


def save_metrics(folder: Path, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Add a row to the table of a folder, in place of one with the same :data:`KEY`; returns all rows."""
    before = rows_so_far(folder)
    for old in before:
        if key_of(old) == key_of(row) and old.get("images", 0) > row.get("images", 0):
            logger.warning("%s: a row of %d pictures replaces one of %d", row["method"], row["images"], old["images"])
    return write_table(folder, [*(old for old in before if key_of(old) != key_of(row)), dict(row)])


def write_table(folder: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write all three files of a table."""
    write_atomically(
        folder / "metrics.json", (json.dumps({"rows": list(rows)}, indent=2, allow_nan=False) + "\n").encode()
    )
    save_csv(folder / "metrics.csv", [_flat(row) for row in rows])
    save_metric_figure(folder / "metrics.png", rows)
    return list(rows)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for the CSV: every column, each with the ends of its interval."""
    flat = {key: row.get(key, "") for key in (*KEY, "top1", "images", "scoring_seconds")}
    for name in COLUMNS:
        low, high = row.get("intervals", {}).get(name, ("", ""))
        flat |= {name: row.get(name, ""), f"{name}_low": low, f"{name}_high": high}
    return flat


def score_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows for the screen: the mean and, behind it, half of its interval; columns that no row has are left out."""
    shown = [name for name in COLUMNS if any(name in row for row in rows)]
    several = len({row.get("checkpoint") for row in rows}) > 1
    lines = []
    for row in rows:
        line = {"checkpoint": str(row.get("checkpoint", ""))} if several else {}
        line |= {"method": str(row["method"]), "images": str(row.get("images", ""))}
        lines.append({**line, **{name: _cell(row, name) for name in shown}})
    return lines


def _cell(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return "-"
    low, high = row.get("intervals", {}).get(name, (math.nan, math.nan))
    return f"{row[name]:.4f}" + (f" ±{(high - low) / 2:.3f}" if math.isfinite(high - low) else "")


def save_metric_figure(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Two scatter plots, each method a point with its 95 % interval: area and precision, deletion and insertion."""
    panels = (("area", "precision", "smaller and on the object: up and left"),
              ("dauc", "iauc", "the answer hangs on it: up and left"))  # fmt: skip
    drawn = [panel for panel in panels if any(panel[0] in row and panel[1] in row for row in rows)]
    figure = plt.figure(figsize=(5.6 * max(len(drawn), 1) + 2.2, 5), layout="constrained")
    axes = figure.subplots(1, max(len(drawn), 1), squeeze=False)[0]
    colours = plt.get_cmap("tab20")
    for ax, (x, y, title) in zip(axes, drawn, strict=False):
        for number, row in enumerate(rows):
            if x in row and y in row:
                own = str(row["method"]).startswith("SCOUTER")
                # A negative model follows a class that is not in the picture: where it does, the true class is drawn.
                h, v = (f"{name}_true" if f"{name}_true" in row else name for name in (x, y))
                ax.errorbar(row[h], row[v], xerr=_reach(row, h), yerr=_reach(row, v), color=colours(number % 20),
                            fmt="*" if own else "o", markersize=12 if own else 6, linewidth=0.8,
                            label=row["method"])  # fmt: skip
        ax.set(xlabel=x, ylabel=y, title=title)
        ax.grid(alpha=0.3)
    if drawn:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    save_figure(path, figure)


def _reach(row: Mapping[str, Any], name: str) -> list[list[float]] | None:
    low, high = row.get("intervals", {}).get(name, (row[name], row[name]))
    return [[max(row[name] - low, 0)], [max(high - row[name], 0)]]

"""Figure of a table of explanation metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from tools.files import save_figure
from tools.provenance import data_text, provenance_text


def save_metric_figure(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw precision over area and insertion over deletion, a point with a 95 % interval for each method."""
    panels = (("area", "precision", "better: up and left (small, and on the object)"),
              ("dauc", "iauc", "better: up and left (the prediction depends on it)"))  # fmt: skip
    drawn = [panel for panel in panels if any(panel[0] in row and panel[1] in row for row in rows)]
    figure = Figure(figsize=(5.6 * max(len(drawn), 1) + 2.2, 5), layout="constrained")
    axes = figure.subplots(1, max(len(drawn), 1), squeeze=False)[0]
    several = len({data_text(row) for row in rows}) > 1
    times = Counter((row["method"], data_text(row)) for row in rows)
    colours = matplotlib.colormaps["tab20"]
    for ax, (x, y, title) in zip(axes, drawn, strict=False):
        for number, row in enumerate(rows):
            if x in row and y in row:
                own = str(row["method"]).startswith("SCOUTER")
                # A negative model is measured on an absent class; if the true class is measured, too, it is drawn.
                h, v = (f"{name}_true" if f"{name}_true" in row else name for name in (x, y))
                ax.errorbar(row[h], row[v], xerr=_error_bar(row, h), yerr=_error_bar(row, v),
                            label=_label(row, data=several, checkpoint=times[row["method"], data_text(row)] > 1),
                            color=colours(number % 20), fmt="*" if own else "o", markersize=12 if own else 6,
                            linewidth=0.8)  # fmt: skip
        ax.set(xlabel=x, ylabel=y, title=title)
        ax.grid(alpha=0.3)
    if drawn:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    shared = {
        key: rows[0].get(key) for key in ("img_size", "checkpoint_id") if len({str(r.get(key)) for r in rows}) == 1
    }
    note = f"rows of {len({data_text(row) for row in rows})} different data" if several else data_text(rows[0])
    save_figure(path, figure, note=", ".join(filter(None, [note, provenance_text(shared)])))


def _label(row: Mapping[str, Any], *, data: bool, checkpoint: bool) -> str:
    """Entry of a row in the legend: its method, and what tells it apart from other rows of this method."""
    lines = [str(row["method"])]
    lines += [f"({row.get('checkpoint', 'unknown checkpoint')})"] if checkpoint else []
    lines += [f"({data_text(row) or 'unknown data'})"] if data else []
    return "\n".join(lines).replace("$", r"\$")  # else matplotlib reads a formula


def _error_bar(row: Mapping[str, Any], name: str) -> list[list[float]] | None:
    low, high = row.get("intervals", {}).get(name, (row[name], row[name]))
    return [[max(row[name] - low, 0)], [max(high - row[name], 0)]]

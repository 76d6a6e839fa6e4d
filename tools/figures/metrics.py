"""Figure of a table of explanation metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from tools.figures.saving import save_figure
from tools.provenance import data_text, provenance_text

COLOURS = matplotlib.colormaps["tab20"]
MARKERS = "os^DvPX"  # the next one after every 20 rows, which have the same colours again
OWN = "*"  # of SCOUTER
PANELS_IN_A_ROW = 4  # of single metrics


def save_metric_figure(
    path: Path, rows: Sequence[Mapping[str, Any]], *, more: Mapping[str, str] | None = None
) -> None:  # fmt: skip
    """Draw precision over area and insertion over deletion, a point with a 95 % interval for each method.

    Args:
        path: the PNG to write.
        rows: the rows of the table.
        more: metrics that get a small panel each below, with a line for each method, where a row has them; their value
            says in which direction they are better.
    """
    panels = (("area", "precision", "better: up and left (small, and on the object)"),
              ("dauc", "iauc", "better: up and left (the prediction depends on it)"))  # fmt: skip
    drawn = [panel for panel in panels if any(panel[0] in row and panel[1] in row for row in rows)]
    single = [name for name in more or {} if any(name in row for row in rows)]
    lines = -(-len(single) // PANELS_IN_A_ROW)
    # The upper half is left out where there is nothing to draw in it but single metrics.
    heights = ([5.0] if drawn or not single else []) + [0.25 * len(rows) + 0.9] * lines
    width = 5.6 * (2 if single else max(len(drawn), 1)) + 2.2
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    whole = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    parts = [whole[line, 0] for line in range(len(heights))]
    if drawn or not single:
        _draw_pairs(figure, parts[0].subgridspec(1, max(len(drawn), 1)), rows, drawn)
    for part, start in zip(parts[len(parts) - lines :], range(0, len(single), PANELS_IN_A_ROW), strict=True):
        grid = part.subgridspec(1, PANELS_IN_A_ROW)
        _draw_single(grid, rows, {name: (more or {})[name] for name in single[start : start + PANELS_IN_A_ROW]})
    several = len({data_text(row) for row in rows}) > 1
    shared = {
        key: rows[0].get(key) for key in ("img_size", "checkpoint_id") if len({str(r.get(key)) for r in rows}) == 1
    }
    note = f"rows of {len({data_text(row) for row in rows})} different data" if several else data_text(rows[0])
    save_figure(path, figure, note=", ".join(filter(None, [note, provenance_text(shared)])))


def _draw_single(grid: Any, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, str]) -> None:
    """Draw a panel for each metric, with a line for each row; a row without it has an empty line."""
    axes = grid.subplots(sharey=True)
    for ax, (name, direction) in zip(axes, metrics.items(), strict=False):
        for number, row in enumerate(rows):
            if name in row:
                ax.errorbar(row[name], number, xerr=_error_bar(row, name), **_marker(row, number, size=5))
        ax.set_title(f"{name}\n(better: {direction})", fontsize=9)
        ax.tick_params(labelsize=8)
        ax.grid(alpha=0.3)
        ax.locator_params(axis="x", nbins=4)
    names = [name.replace("\n", " ") for name in _labels(rows)]
    axes[0].set_yticks(range(len(rows)), [name if len(name) <= 40 else f"{name[:37]}..." for name in names], fontsize=8)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)  # in the order of the table
    for ax in axes[len(metrics) :]:
        ax.axis("off")


def _draw_pairs(
    figure: Figure, grid: Any, rows: Sequence[Mapping[str, Any]], drawn: Sequence[tuple[str, str, str]]
) -> None:  # fmt: skip
    """Draw a panel for each pair of metrics, with a legend beside them."""
    axes = grid.subplots(squeeze=False)[0]
    labels = _labels(rows)
    for ax, (x, y, title) in zip(axes, drawn, strict=False):
        for number, row in enumerate(rows):
            if x in row and y in row:
                # A negative model is measured on an absent class; if the true class is measured, too, it is drawn.
                h, v = (f"{name}_true" if f"{name}_true" in row else name for name in (x, y))
                ax.errorbar(row[h], row[v], xerr=_error_bar(row, h), yerr=_error_bar(row, v),
                            label=labels[number], **_marker(row, number, size=6))  # fmt: skip
        ax.set(xlabel=x, ylabel=y, title=title)
        ax.grid(alpha=0.3)
    if drawn:
        # A row may be in one panel only.
        entries = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        found = [label for label in dict.fromkeys(labels) if label in entries]
        figure.legend([entries[label] for label in found], found, loc="outside right upper", fontsize=8)


def _marker(row: Mapping[str, Any], number: int, *, size: int) -> dict[str, Any]:
    """Style of the points of a row, which no other row of the table has."""
    own = str(row["method"]).startswith("SCOUTER")
    return {"color": COLOURS(number % 20), "fmt": OWN if own else MARKERS[number // 20 % len(MARKERS)],
            "markersize": 2 * size if own else size, "linewidth": 0.8}  # fmt: skip


def _labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name of each row: its method, and what tells it apart from the other rows."""
    several = len({data_text(row) for row in rows}) > 1
    times = Counter((row["method"], data_text(row)) for row in rows)
    return [_label(row, data=several, checkpoint=times[row["method"], data_text(row)] > 1) for row in rows]


def _label(row: Mapping[str, Any], *, data: bool, checkpoint: bool) -> str:
    """Entry of a row in the legend: its method, and what tells it apart from other rows of this method."""
    lines = [str(row["method"])]
    lines += [f"({row.get('checkpoint', 'unknown checkpoint')})"] if checkpoint else []
    lines += [f"({data_text(row) or 'unknown data'})"] if data else []
    return "\n".join(lines).replace("$", r"\$")  # else matplotlib reads a formula


def _error_bar(row: Mapping[str, Any], name: str) -> list[list[float]] | None:
    low, high = row.get("intervals", {}).get(name, (row[name], row[name]))
    return [[max(row[name] - low, 0)], [max(high - row[name], 0)]]

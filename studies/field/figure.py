"""Figure of the study: for each metric a dot with its interval for each row, and a colour for each dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from studies.field.plan import OWN
from studies.field.table import shown_metric
from tools.figures.saving import save_figure

PANELS = {
    "top1": "top-1\nhigher is better",
    "precision": "precision\nhigher is better",
    "area": "area\nsmaller is more selective",
    "iauc": "insertion\nhigher is better",
    "dauc": "deletion\nlower is better",
    "grid_2x2": "grid game 2x2\nhigher is better",
    "random_head": "random head\nnear 0 is better",
}
ACROSS = 4  # panels beside each other, so that the text can be read at the width of a page
COLOURS, MARKERS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), "osD^"  # told apart by the colour-blind, and in grey


def label_of(row: Mapping[str, Any]) -> str:
    """Name of a row: the model that explains itself, or the method that explains the linear classifier."""
    return str(row["model"]) if row["map"] == OWN else f"{row['map']} of {row['model']}"


def save_field(path: Path, rows: Sequence[Mapping[str, Any]], *, note: str) -> None:
    """Draw the measured rows; a metric that no row has is left out."""
    panels = [name for name in PANELS if any(row.get(name) is not None for row in rows)]
    labels = list(dict.fromkeys(label_of(row) for row in rows))
    datasets = list(dict.fromkeys(row["data"] for row in rows))
    across, down = min(len(panels), ACROSS), -(-len(panels) // ACROSS)
    size = (2.6 + 2.2 * across, 0.5 + down * (0.9 + 0.28 * len(labels)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, name in zip(axes.flat, panels, strict=False):
        for number, data in enumerate(datasets):
            shift = 0.28 * (number - (len(datasets) - 1) / 2)
            own = [row for row in rows if row["data"] == data and row.get(shown_metric(row, name)) is not None]
            keys = [shown_metric(row, name) for row in own]
            values = [row[key] for row, key in zip(own, keys, strict=True)]
            ends = [row.get("intervals", {}).get(key, (row[key], row[key])) for row, key in zip(own, keys, strict=True)]
            bars = [[max(value - low, 0) for value, (low, _) in zip(values, ends, strict=True)],
                    [max(high - value, 0) for value, (_, high) in zip(values, ends, strict=True)]]  # fmt: skip
            ax.errorbar(
                values, [labels.index(label_of(row)) + shift for row in own], xerr=bars,
                fmt=MARKERS[number % len(MARKERS)], color=COLOURS[number % len(COLOURS)], markersize=4, linewidth=1,
                label=data,
            )  # fmt: skip
        ax.set_title(PANELS[name], fontsize=9)
        ax.grid(axis="x", alpha=0.3)
        for line in range(1, len(labels)):
            ax.axhline(line - 0.5, color="0.9", linewidth=0.6)
        ax.tick_params(labelsize=8)
    axes[0, 0].set_yticks(range(len(labels)), labels)
    axes[0, 0].set_ylim(len(labels) - 0.4, -0.6)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=len(datasets), fontsize=9)
    save_figure(path, figure, note=note)

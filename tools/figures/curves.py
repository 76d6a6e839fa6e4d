"""Training curves and confusion matrix of a run, as figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tools.figures.explanations import shortened
from tools.figures.saving import save_figure

MAX_CLASSES_WITH_NAMES, MAX_CLASSES_WITH_COUNTS = 50, 25  # in a confusion matrix
MAX_CELLS = 1000  # along each side of it, about as many as its pixels


def confusion_counts(labels: np.ndarray, predicted: np.ndarray, c: int) -> np.ndarray:
    """Confusion matrix (c, c) of true classes (rows) and predicted ones (columns), from both (n)."""
    return np.bincount(labels * c + predicted, minlength=c * c).reshape(c, c)


def save_confusion(
    path: Path, labels: np.ndarray, predicted: np.ndarray, names: Sequence[str], *, note: str = ""
) -> None:
    """Draw a confusion matrix of true by predicted classes, coloured by the share of the true class.

    Counts are written for up to ``MAX_CLASSES_WITH_COUNTS`` classes, names for up to ``MAX_CLASSES_WITH_NAMES``. Groups
    of successive classes share a cell where there are more than ``MAX_CELLS``.

    Args:
        path: the file.
        labels: (n), true classes.
        predicted: (n), predicted classes.
        names: of all classes.
        note: says which data they are of.
    """
    c = len(names)
    group = -(-c // MAX_CELLS)
    cells = -(-c // group)
    counts = confusion_counts(labels // group, predicted // group, cells)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(max(4.0, 0.32 * c + 2), 16.0)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    ax = figure.subplots()
    ends = (-0.5, cells * group - 0.5)
    drawn = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, extent=(*ends, *ends[::-1]))
    of = "class" if group == 1 else f"classes, {group} to a cell"
    figure.colorbar(drawn, ax=ax, shrink=0.8, label=f"share of the true {of}")
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    if c <= MAX_CLASSES_WITH_NAMES:
        ax.set_xticks(range(c), [shortened(name) for name in names], rotation=90, fontsize=7)
        ax.set_yticks(range(c), [shortened(name) for name in names], fontsize=7)
    for row, column in np.argwhere(counts) if c <= MAX_CLASSES_WITH_COUNTS else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        ax.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=colour)
    save_figure(path, figure, note=note)


def save_curves(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Draw loss, top-1 accuracy and mean attention by epoch for all runs of a log."""
    panels = {"loss": "loss", "top-1 accuracy": "top1", "mean attention": "attn_mean"}
    runs = list(dict.fromkeys(str(record["run"]) for record in records))
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels))
    for ax, (title, key) in zip(axes, panels.items(), strict=True):
        for number, run in enumerate(runs):
            own = [record for record in records if record["run"] == run]
            epochs = [record["epoch"] + 1 for record in own]
            for prefix, style, split in (("", "--", "training"), ("val_", "-", "validation")):
                values = [record.get(prefix + key, np.nan) for record in own]
                ax.plot(epochs, values, style, color=f"C{number % 10}", marker=".", label=f"{run}, {split}")
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.set_xlim(0.5, max(record["epoch"] for record in records) + 1.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=7, handlelength=4)
    save_figure(path, figure, note="; ".join(dict.fromkeys(r["data"] for r in records if r.get("data"))))

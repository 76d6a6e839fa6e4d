"""Figure of a head study: accuracy of each head, and area and precision of its maps."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tools.figures.saving import save_figure


def save_study(path: Path, runs: list[dict[str, Any]], *, note: str = "") -> None:
    """Draw, on the left, accuracy by learning rate and, on the right, precision of the maps by their area.

    ``note`` is a line about the data.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, key in enumerate(dict.fromkeys((run["head"], run["sign"]) for run in runs)):
        own = [run for run in runs if (run["head"], run["sign"]) == key]
        name, colour = f"{key[0]} {'+' if key[1] > 0 else '-'}", f"C{number % 10}"
        rates = sorted({run["lr"] for run in own})
        values = [[100 * run["top1"] for run in own if run["lr"] == rate] for rate in rates]
        means = [float(np.mean(group)) for group in values]
        spread = [[m - min(group) for m, group in zip(means, values, strict=True)],
                  [max(group) - m for m, group in zip(means, values, strict=True)]]  # fmt: skip
        left.errorbar(rates, means, yerr=spread, marker="o", capsize=3, color=colour, label=name)
        boxed = [run for run in own if "precision" in run]  # the dataset has boxes
        right.plot([run["area"] for run in boxed], [run["precision"] for run in boxed], "o", color=colour, label=name)
    left.set(xscale="log", xlabel="learning rate", ylabel="top-1, %, mean and range of the seeds")
    right.set(xlabel="area of the explanation", ylabel="precision: share of the map in the object's box")
    for ax in (left, right):
        ax.grid(alpha=0.3)
    left.legend(fontsize=8)
    save_figure(path, figure, note=note)

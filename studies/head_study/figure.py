"""The picture of a head study: accuracy by head, and where its maps lie."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tools.files import save_figure


def save_study(path: Path, runs: list[dict[str, Any]]) -> None:
    """Left the accuracy of each head by its learning rate, right the precision of its maps against their area."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, key in enumerate(dict.fromkeys((run["head"], run["sign"]) for run in runs)):
        own = [run for run in runs if (run["head"], run["sign"]) == key]
        name, colour = f"{key[0]} {'+' if key[1] > 0 else '-'}", f"C{number % 10}"
        rates = sorted({run["lr"] for run in own})
        values = [[100 * run["top1"] for run in own if run["lr"] == rate] for rate in rates]
        means = [float(np.mean(of)) for of in values]
        spread = [[m - min(of) for m, of in zip(means, values, strict=True)],
                  [max(of) - m for m, of in zip(means, values, strict=True)]]  # fmt: skip
        left.errorbar(rates, means, yerr=spread, marker="o", capsize=3, color=colour, label=name)
        placed = [run for run in own if "precision" in run]
        right.plot([run["area"] for run in placed], [run["precision"] for run in placed], "o", color=colour, label=name)
    left.set(xscale="log", xlabel="learning rate", ylabel="top-1, %, mean and range of the seeds")
    right.set(xlabel="area of the explanation", ylabel="precision: share of the map in the object's box")
    for ax in (left, right):
        ax.grid(alpha=0.3)
    left.legend(fontsize=8)
    save_figure(path, figure)

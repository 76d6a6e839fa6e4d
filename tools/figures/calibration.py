"""Reliability diagram: accuracy by confidence of a classifier."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tools.figures.saving import save_figure


def save_reliability(
    path: Path, bins: Sequence[Mapping[str, float]], *, error: float, count: int, note: str = ""
) -> None:  # fmt: skip
    """Draw accuracy against mean confidence for each bin, and the share of the pictures in it.

    Args:
        path: the file.
        bins: ``confidence``, ``accuracy`` and ``pictures`` of each bin that has any.
        error: the expected calibration error.
        count: number of bins.
        note: which data the diagram is of.
    """
    figure = Figure(figsize=(4.2, 4.8), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    confidence = [row["confidence"] for row in bins]
    total = sum(row["pictures"] for row in bins)
    top.plot([0, 1], [0, 1], "--", color="grey", label="calibrated")
    top.plot(confidence, [row["accuracy"] for row in bins], "o-", label=f"model, calibration error {error:.3f}")
    top.set_ylabel("accuracy")
    top.set_ylim(-0.02, 1.02)
    top.legend(fontsize=8)
    below.bar(confidence, [row["pictures"] / total for row in bins], width=0.8 / count)
    below.set_xlabel("probability of the predicted class")
    below.set_ylabel("share of\npictures")
    below.set_xlim(-0.02, 1.02)
    save_figure(path, figure, note=note)

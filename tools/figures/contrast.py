"""Figure of the evidence for one class rather than another."""

import math
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from tools.figures.explanations import ABOVE, NEGATIVE, POSITIVE, overlay, panels, shortened
from tools.files import save_figure
from tools.text import visible

# One scale: opaque blue, transparent at zero, opaque red. The two differ for the colour-blind, too; contours, solid for
# red and dashed for blue, tell them apart in grey.
SIGNED = LinearSegmentedColormap.from_list(
    "signed", [(0.0, NEGATIVE(1.0)), (0.5, NEGATIVE(0.0)), (0.5, POSITIVE(0.0)), (1.0, POSITIVE(1.0))]
)
CONTOUR = 0.5  # of the scale
MAX_RATIO = 1e6
LINE_LENGTH = 100  # characters of a line above the figure


def ratio_text(nats: float) -> str:
    """The ratio of two probabilities in words, from the difference of their logits: ``22 times as likely``."""
    ratio = math.exp(min(abs(nats), 700.0))
    if ratio > MAX_RATIO:
        return f"more than {MAX_RATIO:,.0f} times as likely"
    return f"{ratio:.2f} times as likely" if ratio < 10 else f"{ratio:,.0f} times as likely"


def contrast_text(name: str, other: str, nats: float) -> str:
    """Line about two classes; ``nats`` is the difference of their logits, the log of the ratio of probabilities."""
    first, second = (name, other) if nats >= 0 else (other, name)
    likely = f"{first} is {ratio_text(nats)} as {second}"
    return f"{name} rather than {other}: {nats:.1f} nats; by the model's probabilities {likely}"


def save_contrast_figure(
    path: Path, picture: Image.Image, contrast: np.ndarray, *, name: str, other: str, title: str, note: str = ""
) -> None:
    """Write the figure of :func:`draw_contrast`; ``path`` and ``note`` as in :func:`tools.files.save_figure`."""
    save_figure(path, draw_contrast(picture, contrast, name=name, other=other, title=title), note=note)


def draw_contrast(picture: Image.Image, contrast: np.ndarray, *, name: str, other: str, title: str) -> Figure:
    """Draw a picture and the evidence for one class rather than another, red for the first, blue for the second.

    Args:
        picture: the model's input before normalisation.
        contrast: (h, w), signed; its sum is the difference of the logits, in nats.
        name, other: the two classes.
        title: the picture's true and predicted class.
    """
    top = max(float(np.abs(contrast).max()), 1e-12)
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    left, right = panels(figure, 1, 2)[0]
    left.imshow(picture.convert("RGB"))
    left.set_title("picture", fontsize=9, y=ABOVE)
    image = overlay(right, picture, contrast, SIGNED, Normalize(-top, top))
    _contours(right, picture, contrast / top)
    total, up, down = contrast.sum(), contrast.clip(0).sum(), abs(contrast.clip(None, 0)).sum()
    right.set_title(f"red: for {shortened(name)}\nblue, dashed: for {shortened(other)}", fontsize=9, y=ABOVE)
    figure.colorbar(image, ax=right, shrink=0.85, pad=0.02).ax.tick_params(labelsize=7)
    amounts = f"red {up:.1f} \u2212 blue {down:.1f} = {total:.1f} nats".replace("-", "\u2212")
    text = textwrap.fill(visible(contrast_text(name, other, float(total))), LINE_LENGTH)
    figure.suptitle(f"{title}\n{text}\n{amounts}", fontsize=9)
    return figure


def _contours(ax: object, picture: Image.Image, shares: np.ndarray) -> None:
    """Outline the places with more than half of the largest value, solid for positive, dashed for negative ones."""
    h, w = shares.shape
    rows = (np.arange(h) + 0.5) * picture.height / h - 0.5  # centres of the places, in pixels
    columns = (np.arange(w) + 0.5) * picture.width / w - 0.5
    for sign, style in ((1, "solid"), (-1, "dashed")):
        if min(h, w) > 1 and (sign * shares).max() > CONTOUR:
            ax.contour(  # type: ignore[attr-defined]
                columns, rows, sign * shares, [CONTOUR], colors="black", linewidths=0.8, linestyles=style
            )

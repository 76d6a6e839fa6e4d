"""Figure of the evidence for one class rather than another."""

import math
import textwrap
from pathlib import Path

import numpy as np
from contourpy import contour_generator
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from tools.figures.explanations import GAP, NEGATIVE, POSITIVE, shortened
from tools.figures.saving import save_figure
from tools.figures.sheet import ABOVE, LINE, Box, Sheet, scale_room
from tools.text import rounded_sum, visible

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
    """Write the figure of :func:`draw_contrast`; ``path`` and ``note`` as in :func:`.saving.save_figure`."""
    save_figure(path, draw_contrast(picture, contrast, name=name, other=other, title=title), note=note)


def draw_contrast(picture: Image.Image, contrast: np.ndarray, *, name: str, other: str, title: str) -> Figure:
    """Draw a picture and the evidence for one class rather than another, red for the first, blue for the second.

    Args:
        picture: the model's input before normalisation.
        contrast: (h, w), signed; its sum is the difference of the logits, in nats.
        name, other: the two classes.
        title: the picture's true and predicted class.
    """
    strongest = max(float(np.abs(contrast).max()), 1e-12)
    total = contrast.sum()
    red, blue = rounded_sum(total, contrast.clip(0).sum())
    amounts = f"red {red:.1f} \u2212 blue {abs(blue):.1f} = {total:.1f} nats".replace("-", "\u2212")
    text = textwrap.fill(visible(contrast_text(name, other, float(total))), LINE_LENGTH)
    sheet, scale = Sheet(7.2, 4.2), Normalize(-strongest, strongest)
    top = sheet.title(f"{title}\n{text}\n{amounts}", size=9) + GAP + 2 * LINE * 9 + ABOVE
    pitch = (sheet.width - GAP - scale_room(scale)) / 2
    left, right = (Box(GAP + pitch * i, top, pitch - 2 * GAP, sheet.height - top - GAP) for i in (0, 1))
    sheet.panel(left, picture, title="picture")
    legend = f"red: for {shortened(name)}\nblue, dashed: for {shortened(other)}"
    panel = sheet.panel(right, picture, contrast, SIGNED, scale, title=legend)
    sheet.scale(GAP + 2 * pitch, right, SIGNED, scale)
    _contours(sheet, panel.box, contrast / strongest)
    return sheet.figure


def _contours(sheet: Sheet, box: Box, shares: np.ndarray) -> None:
    """Outline the places with more than half of the largest value, solid for positive, dashed for negative ones."""
    h, w = shares.shape
    if min(h, w) < 2:
        return
    columns = box.left + (np.arange(w) + 0.5) * box.width / w  # centres of the places, in inches
    rows = -box.top - (np.arange(h) + 0.5) * box.height / h
    for sign, style in ((1, "solid"), (-1, "dashed")):
        lines = contour_generator(columns, rows, sign * shares).lines(CONTOUR)
        sheet.lines(lines, style=style)

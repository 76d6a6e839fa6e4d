"""Figures of explanations, and the map files of the published code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from tools.figures.texts import drawable
from tools.files import save_figure, save_picture
from tools.text import visible

MAX_TITLE_LENGTH = 18  # characters above a small picture
OVERLAY_ALPHA = 0.4  # as published
POSITIVE = LinearSegmentedColormap.from_list("positive", [(0.84, 0.1, 0.0, 0.0), (0.84, 0.1, 0.0, 0.9)])
NEGATIVE = LinearSegmentedColormap.from_list("negative", [(0.0, 0.2, 0.85, 0.0), (0.0, 0.2, 0.85, 0.9)])


def jet_overlay(picture: Image.Image, grey: Image.Image) -> Image.Image:
    """Overlay of the published code: a small grey map, enlarged bilinearly, in jet colours over an RGB picture."""
    large = np.asarray(grey.resize(picture.size, Image.Resampling.BILINEAR), dtype=np.float32) / 255  # (H, W)
    jet = Image.fromarray((matplotlib.colormaps["jet"](large)[..., :3] * 255).round().astype(np.uint8))
    return Image.blend(picture, jet, OVERLAY_ALPHA)


def save_map_files(folder: Path, picture: Image.Image, maps: np.ndarray, classes: Sequence[int]) -> None:
    """Write the files of the published code: ``image.png``, ``slot_<class>.png``, ``slot_mask_<class>.png``.

    Args:
        folder: an existing folder.
        picture: the model's input before normalisation.
        maps: (c, h, w), the attention of all classes, which are scaled together.
        classes: classes to write.
    """
    low, high = float(maps.min()), float(maps.max())
    scaled = (maps - low) / max(high - low, np.finfo(maps.dtype).tiny)  # (c, h, w)
    colour = picture.convert("RGB")
    save_picture(folder / "image.png", colour)
    for label in classes:
        grey = Image.fromarray((scaled[label] * 255).round().astype(np.uint8))
        save_picture(folder / f"slot_{label}.png", grey)
        save_picture(folder / f"slot_mask_{label}.png", jet_overlay(colour, grey))


@dataclass(frozen=True)
class ClassMap:
    """Attention and evidence of one class, a column of a figure."""

    name: str
    logit: float
    probability: float
    attention: np.ndarray  # (h, w)
    evidence: np.ndarray  # (h, w)
    is_true: bool


def save_explanation_figure(
    path: Path, picture: Image.Image, columns: Sequence[ClassMap], *, title: str, negative: bool, note: str = ""
) -> None:  # fmt: skip
    """Draw a picture and, for each class, its attention above its evidence.

    All maps of a row share one scale, so that a class with less evidence looks paler.

    Args:
        path: the PNG to write.
        picture: the model's input before normalisation.
        columns: the classes to show, most likely first.
        title: the picture's true and predicted class.
        negative: the maps speak against their class (blue) instead of for it (red).
        note: see :func:`tools.files.save_figure`.
    """
    rows = {"attention": [c.attention for c in columns], "evidence": [c.evidence for c in columns]}
    colours = NEGATIVE if negative else POSITIVE
    width = 1 + len(columns)
    figure = Figure(figsize=(1.9 * width + 0.6, 4.9), layout="constrained")
    axes = figure.subplots(2, width, squeeze=False)
    figure.suptitle(title, fontsize=11)
    axes[0, 0].imshow(picture.convert("RGB"))
    axes[0, 0].set_title("picture", fontsize=9)
    _legend(axes[1, 0], negative)
    for row, (kind, maps) in enumerate(rows.items()):
        scale = Normalize(0.0, max(max(float(m.max()) for m in maps), 1e-12))
        for ax, column, values in zip(axes[row, 1:], columns, maps, strict=True):
            image = overlay(ax, picture, values, colours, scale)
            if row == 0:
                name = visible(f"{column.name} (true)" if column.is_true else column.name)
                ax.set_title(f"{name}\nlogit {column.logit:.3g}\np = {column.probability:.3f}", fontsize=9)
            else:
                ax.set_title(f"sum {values.sum():.3g}", fontsize=9)
        bar = figure.colorbar(image, ax=list(axes[row, :]), shrink=0.85, pad=0.01)
        bar.set_label(f"{kind} for the class" if not negative else f"{kind} against the class", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    for ax in axes.flat:
        ax.set_axis_off()
    save_figure(path, figure, note=note)


def _legend(ax: Any, negative: bool) -> None:
    sign, kind = ("minus ", "against") if negative else ("", "for")
    text = (
        "above: attention\nof the class's slots\n\n"
        f"below: evidence\n{kind} the class;\n{sign}its sum\nis the logit\n\n"
        f"no colour: no\nevidence {kind} it"
    )
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, transform=ax.transAxes)


@dataclass(frozen=True)
class OverviewRow:
    """Picture with its maps, a row of an overview."""

    picture: Image.Image
    title: tuple[str, str]  # true and predicted class, or the picture's name and its class
    columns: Sequence[ClassMap]


def class_maps(explanation: Any, names: Sequence[str], classes: Sequence[int], *, label: int | None) -> list[ClassMap]:
    """Columns of a figure for some classes, from the explanation of a picture (``engine.explain``)."""
    return [
        ClassMap(
            name=names[c],
            logit=float(explanation.logits[c]),
            probability=float(explanation.probabilities[c]),
            attention=explanation.attention[c].numpy(),
            evidence=explanation.evidence[c].numpy(),
            is_true=c == label,
        )
        for c in classes
    ]


def draw_overview(rows: Sequence[OverviewRow], *, negative: bool) -> Figure:
    """Draw one row per picture: the picture and the evidence maps of some classes, which share one scale.

    The true class is framed.
    """
    width = 1 + max(len(row.columns) for row in rows)
    figure = Figure(figsize=(1.1 * width, 1.45 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), width, squeeze=False)
    legend = "blue: evidence against the class" if negative else "red: evidence for the class"
    figure.suptitle(f"{legend}, one scale per row; framed: the true class", fontsize=8)
    for line, row in zip(axes, rows, strict=True):
        line[0].imshow(row.picture.convert("RGB"))
        line[0].set_title("\n".join(map(shortened, row.title)), fontsize=7)
        scale = Normalize(0.0, max(max(float(c.evidence.max()) for c in row.columns), 1e-12))
        for ax, column in zip(line[1:], row.columns, strict=False):  # a row may have fewer classes than another
            overlay(ax, row.picture, column.evidence, NEGATIVE if negative else POSITIVE, scale)
            ax.set_title(f"{shortened(column.name)}\np = {column.probability:.2f}", fontsize=7)
            if column.is_true:
                frame = {"fill": False, "edgecolor": "green", "linewidth": 3, "transform": ax.transAxes}
                ax.add_patch(Rectangle((0, 0), 1, 1, **frame))
    for ax in axes.flat:
        ax.set_axis_off()
    return figure


def shortened(text: str) -> str:
    """Title in one line, cut to fit above a small picture; what tells apart two classes of one name is kept."""
    text = drawable(visible(text))
    if len(text) <= MAX_TITLE_LENGTH:
        return text
    name, bracket, qualifier = text.rpartition(" (")
    kept = bracket + qualifier if qualifier.endswith(")") and len(qualifier) < MAX_TITLE_LENGTH - 4 else ""
    return f"{(name if kept else text)[: MAX_TITLE_LENGTH - 1 - len(kept)]}…{kept}"


def overlay(ax: Any, picture: Image.Image, values: np.ndarray, colours: Any, scale: Normalize) -> Any:
    """Draw a map (h, w) in colour over the picture in pale grey, so that all colour belongs to the map."""
    extent = (-0.5, picture.width - 0.5, picture.height - 0.5, -0.5)
    ax.imshow(picture.convert("L"), cmap="gray", vmin=-120, vmax=255)
    return ax.imshow(values, cmap=colours, norm=scale, extent=extent, interpolation="bilinear")

"""Figures of explanations, and the map files of the published code."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from tools.figures.saving import save_figure, save_picture
from tools.figures.sheet import ABOVE, LINE, Box, Sheet, height_of, scale_room
from tools.figures.texts import drawable
from tools.text import rounded_sum, visible

MAX_TITLE_LENGTH = 18  # characters above a small picture
OVERLAY_ALPHA = 0.4  # as published
POSITIVE = LinearSegmentedColormap.from_list("positive", [(0.84, 0.1, 0.0, 0.0), (0.84, 0.1, 0.0, 0.9)])
NEGATIVE = LinearSegmentedColormap.from_list("negative", [(0.0, 0.2, 0.85, 0.0), (0.0, 0.2, 0.85, 0.9)])
LINE_LENGTH = 22  # characters of a line above a panel
GAP = 0.06  # inches between parts of a figure


def jet_overlay(picture: Image.Image, grey: Image.Image) -> Image.Image:
    """Overlay of the published code: a small grey map, enlarged bilinearly, in jet colours over an RGB picture."""
    large = np.asarray(grey.resize(picture.size, Image.Resampling.BILINEAR))  # (H, W)
    return Image.blend(picture, Image.fromarray(_jet()[large]), OVERLAY_ALPHA)


@cache
def _jet() -> np.ndarray:
    """Colours (256, 3) of the 256 levels of grey, so that a picture needs a look-up and no arithmetic."""
    levels = np.arange(256, dtype=np.float32) / 255
    return (matplotlib.colormaps["jet"](levels)[:, :3] * 255).round().astype(np.uint8)


def save_map_files(
    folder: Path, picture: Image.Image, maps: np.ndarray, classes: Sequence[int], *, vis_format: str = "png"
) -> None:
    """Write the files of the published code: ``image.png``, ``slot_<class>.png``, ``slot_mask_<class>.png``.

    Args:
        folder: an existing folder.
        picture: the model's input before normalisation.
        maps: (c, h, w), the attention of all classes, which are scaled together.
        classes: classes to write.
        vis_format: ending of the files in colour; grey maps are PNG, since they hold the values.
    """
    low, high = float(maps.min()), float(maps.max())
    scaled = (maps - low) / max(high - low, np.finfo(maps.dtype).tiny)  # (c, h, w)
    colour = picture.convert("RGB")
    save_picture(folder / f"image.{vis_format}", colour)
    for label in classes:
        grey = Image.fromarray((scaled[label] * 255).round().astype(np.uint8))
        save_picture(folder / f"slot_{label}.png", grey)
        save_picture(folder / f"slot_mask_{label}.{vis_format}", jet_overlay(colour, grey))


@dataclass(frozen=True)
class ClassMap:
    """Maps of one class, a column of a figure.

    With ``against`` the evidence has two sides, and the rest of the logit is what the class shares with the others.
    """

    name: str
    logit: float
    probability: float
    attention: np.ndarray  # (h, w)
    evidence: np.ndarray  # (h, w), not negative; against the class if the model is negative and has one side
    is_true: bool
    against: np.ndarray | None = None  # (h, w), not negative


def save_explanation_figure(
    path: Path, picture: Image.Image, columns: Sequence[ClassMap], *, title: str, negative: bool, note: str = ""
) -> None:  # fmt: skip
    """Write the figure of :func:`draw_explanation`; ``path`` and ``note`` as in :func:`.saving.save_figure`."""
    save_figure(path, draw_explanation(picture, columns, title=title, negative=negative), note=note)


def draw_explanation(picture: Image.Image, columns: Sequence[ClassMap], *, title: str, negative: bool) -> Figure:
    """Draw a picture and, for each class, two maps: evidence for it above evidence against it, and their sum below.

    For evidence of one side, attention above evidence. All maps of a row, and both rows of evidence with two sides,
    share one scale, so that a class with less evidence looks paler.

    Args:
        picture: the model's input before normalisation.
        columns: the classes to show, most likely first.
        title: the picture's true and predicted class.
        negative: the maps speak against their class (blue) instead of for it (red).
    """
    rows = [(label, maps, colours, Normalize(0.0, max(top, 1e-12)))
            for label, maps, colours, top in _rows_of(columns, negative)]  # fmt: skip
    width = 1 + len(columns)
    sheet = Sheet(1.9 * width + 0.6, 4.9)
    top = sheet.title(title, size=11) + GAP
    titles = [[_title(c, values, row) for c, values in zip(columns, rows[row][1], strict=True)] for row in (0, 1)]
    heads = [height_of(texts, 9) + ABOVE for texts in titles]
    sums = [_sum_text(column) for column in columns if column.against is not None]
    foot = height_of(sums, 8) + 2 * GAP if sums else GAP
    room = max(scale_room(scale, label) for label, _, _, scale in rows)
    pitch = (sheet.width - GAP - room) / width
    side = (sheet.height - top - sum(heads) - GAP - foot) / 2
    for row, (label, maps, colours, scale) in enumerate(rows):
        top += heads[row]
        cells = [Box(GAP + i * pitch, top, pitch - GAP, side) for i in range(width)]
        if row == 0:
            sheet.panel(cells[0], picture, title="picture")
        else:
            sheet.text(*cells[0].middle, _legend(columns, negative), size=8)
        for cell, text, values in zip(cells[1:], titles[row], maps, strict=True):
            sheet.panel(cell, picture, values, colours, scale, title=text)
        for cell, text in zip(cells[1:], sums if row else (), strict=False):
            below = cell.fitted(picture)
            sheet.text(below.middle[0], below.top + below.height + GAP, text, size=8, va="top")
        sheet.scale(GAP + width * pitch, cells[-1], colours, scale, label=label)
        top += side + GAP
    return sheet.figure


def _rows_of(columns: Sequence[ClassMap], negative: bool) -> list[tuple[str, list[np.ndarray], Any, float]]:
    """Label, maps, colours and end of the scale of both rows of a figure."""
    evidence = [column.evidence for column in columns]
    against = [column.against for column in columns if column.against is not None]
    if against:
        top = max(float(values.max()) for values in (*evidence, *against))
        return [("evidence for the class", evidence, POSITIVE, top), ("evidence against it", against, NEGATIVE, top)]
    attention, side = [column.attention for column in columns], "against" if negative else "for"
    colours = NEGATIVE if negative else POSITIVE
    return [(f"{kind} {side} the class", maps, colours, max(float(values.max()) for values in maps))
            for kind, maps in (("attention", attention), ("evidence", evidence))]  # fmt: skip


def _title(column: ClassMap, values: np.ndarray, row: int) -> str:
    """Title of a panel: the class above the upper row, the sum of the map where there is evidence."""
    mark, name = " (true)" if column.is_true else "", drawable(visible(column.name))
    length = LINE_LENGTH // 2 if any(east_asian_width(c) in "WF" for c in name) else LINE_LENGTH
    first, *more = textwrap.wrap(name + mark, length) or [""]
    if len(more) > 1:
        more = [f"{more[0][: length - 1 - len(mark)]}…{mark}"]
    name = "\n".join([first, *more])
    if column.against is None:
        upper = f"{name}\nlogit {column.logit:.3g}\np = {column.probability:.3f}"
        return upper if row == 0 else f"sum {values.sum():.3g}"
    side = f"{'against' if row else 'for'} {values.sum():.1f}"
    return side if row else f"{name}\np = {column.probability:.3f}\n{side}"


def _sum_text(column: ClassMap) -> str:
    """The sum that makes the logit, as in ``7.2 - 0.4 - 3.1 = 3.7``."""
    assert column.against is not None
    above, below, common = rounded_sum(column.logit, column.evidence.sum(), -column.against.sum())
    sign = "\u2212" if common < 0 else "+"
    return (f"{above:.1f} \u2212 {abs(below):.1f} {sign} {abs(common):.1f}\n"
            f"= logit {column.logit:.1f}".replace("-", "\u2212"))  # fmt: skip


def _legend(columns: Sequence[ClassMap], negative: bool) -> str:
    """Explanation of the colours, for a reader who does not know the method."""
    if any(column.against is not None for column in columns):
        return (
            "red: what here speaks\nfor the class and for\nfew others\n\n"
            "blue: what here speaks\nagainst it and against\nfew others\n\n"
            "below: for \u2212 against\n+ what the classes\nshare = logit"
        )
    sign, kind = ("minus ", "against") if negative else ("", "for")
    return (
        "above: attention\nof the class's slots\n\n"
        f"below: evidence\n{kind} the class;\n{sign}its sum\nis the logit\n\n"
        f"no colour: no\nevidence {kind} it"
    )


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
            attention=explanation.attention[c].clamp_min(0).numpy(),
            evidence=(explanation.why if explanation.two_sided else explanation.evidence)[c].numpy(),
            is_true=c == label,
            against=explanation.why_not[c].numpy() if explanation.two_sided else None,
        )
        for c in classes
    ]


def draw_overview(rows: Sequence[OverviewRow], *, negative: bool) -> Figure:
    """Draw one row per picture: the picture and the evidence maps of some classes, which share one scale.

    The true class is framed where it is known.
    """
    width = 1 + max(len(row.columns) for row in rows)
    sheet = Sheet(1.1 * width, 1.45 * len(rows) + 0.3)
    legend = "blue: evidence against the class" if negative else "red: evidence for the class"
    framed = "; framed: the true class" if any(c.is_true for row in rows for c in row.columns) else ""
    top = sheet.title(f"{legend}, one scale per row{framed}", size=8) + GAP
    head, pitch = 2 * LINE * 7 + ABOVE, (sheet.height - top) / len(rows)
    for number, row in enumerate(rows):
        cells = [Box(GAP / 2 + 1.1 * i, top + number * pitch + head, 1.1 - GAP, pitch - head - GAP)
                 for i in range(width)]  # fmt: skip
        sheet.panel(cells[0], row.picture, title="\n".join(map(shortened, row.title)), size=7)
        maps = [c.against if negative and c.against is not None else c.evidence for c in row.columns]
        scale = Normalize(0.0, max(max(float(values.max()) for values in maps), 1e-12))
        for cell, column, values in zip(cells[1:], row.columns, maps, strict=False):  # a row may have fewer classes
            text = f"{shortened(column.name)}\np = {column.probability:.2f}"
            frame = "green" if column.is_true else ""
            colours = NEGATIVE if negative else POSITIVE
            sheet.panel(cell, row.picture, values, colours, scale, title=text, size=7, frame=frame)
    return sheet.figure


def shortened(text: str) -> str:
    """Title in one line, cut to fit above a small picture; what tells apart two classes of one name is kept."""
    text = drawable(visible(text))
    if len(text) <= MAX_TITLE_LENGTH:
        return text
    name, bracket, qualifier = text.rpartition(" (")
    kept = bracket + qualifier if qualifier.endswith(")") and len(qualifier) < MAX_TITLE_LENGTH - 4 else ""
    return f"{(name if kept else text)[: MAX_TITLE_LENGTH - 1 - len(kept)]}…{kept}"

"""Figures that compare attribution methods, and the map files of the published code."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import Colormap, Normalize
from PIL import Image

from tools.figures.explanations import GAP, POSITIVE, jet_overlay, shortened
from tools.figures.saving import save_figure, save_picture
from tools.figures.sheet import ABOVE, LINE, Box, Sheet


def scaled_map(values: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Cut a map at zero, scale it to [0, 1], raise it to a floor, and scale it again, as the published code does.

    There, however, CAM is scaled to [0, 1] before, so that the cut has no effect on it.

    Args:
        values: (h, w).
        floor: ``--grad_min_level``; values below it become 0.
    """
    scaled = _min_max(np.maximum(values.astype(np.float64), 0))
    return _min_max(np.maximum(scaled, floor)).astype(np.float32)


def _min_max(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, np.finfo(values.dtype).tiny)


def save_method_files(
    folder: Path, picture: Image.Image, method: str, maps: np.ndarray, classes: Sequence[int], *, floor: float,
    vis_format: str = "png",
) -> None:  # fmt: skip
    """Write ``<method>_<class>_mask.png``, the grey map, and ``<method>_<class>.png``, jet over the picture.

    Args:
        folder: an existing folder.
        picture: the model's input before normalisation.
        method: the method's name.
        maps: (t, h, w), a map for each class.
        classes: the t classes.
        floor: see :func:`scaled_map`.
        vis_format: ending of the files in colour.
    """
    colour = picture.convert("RGB")
    for label, values in zip(classes, maps, strict=True):
        grey = Image.fromarray((scaled_map(values, floor) * 255).round().astype(np.uint8))
        save_picture(folder / f"{method}_{label}_mask.png", grey)
        save_picture(folder / f"{method}_{label}.{vis_format}", jet_overlay(colour, grey))


def save_method_figure(
    path: Path, picture: Image.Image, rows: Mapping[str, np.ndarray], names: Sequence[str], *, title: str,
    colours: Mapping[str, Colormap] | None = None, floor: float = 0.0, note: str = "",
) -> None:  # fmt: skip
    """Draw the maps of all methods (rows) for all classes (columns) over the picture in pale grey.

    Each map of an attribution method is scaled alone, as is usual for these methods; the maps of slot models (rows in
    ``colours``) share one scale per row, since they can be compared between classes.

    Args:
        path: the file, .png or .jpg.
        picture: the model's input before normalisation.
        rows: maps (t, h, w) by method.
        names: names of the t classes.
        title: the picture's true and predicted class.
        colours: colour maps of the rows that share a scale, by method.
        floor: see :func:`scaled_map`.
        note: see :func:`tools.figures.saving.save_figure`.
    """
    width, height = 1 + len(names), len(rows)
    sheet = Sheet(1.3 * width + 0.3, 1.3 * height + 0.7)
    head = sheet.title(title, size=10) + GAP + LINE * 8 + ABOVE
    across, down = (sheet.width - GAP) / width, (sheet.height - head) / height
    for number, (method, maps) in enumerate(rows.items()):
        cells = [Box(GAP + across * i, head + down * number, across - GAP, down - GAP) for i in range(width)]
        sheet.text(cells[0].left + cells[0].width, cells[0].middle[1], method, size=8, ha="right")
        own = (colours or {}).get(method)
        shown = np.maximum(maps, 0) if own else np.stack([scaled_map(values, floor) for values in maps])
        scale = Normalize(0.0, max(float(maps.max()), 1e-12) if own else 1.0)
        for cell, values, name in zip(cells[1:], shown, names, strict=True):
            text = shortened(name) if number == 0 else ""
            sheet.panel(cell, picture, values, own or POSITIVE, scale, title=text, size=8)
    save_figure(path, sheet.figure, note=note)

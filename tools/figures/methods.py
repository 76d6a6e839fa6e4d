"""Pictures that compare attribution methods: the published files, and one figure of all methods and classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from tools.figures.explanations import POSITIVE, in_jet, overlay, shortened
from tools.files import save_figure, save_picture


def scaled_map(values: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """A map as the published code saves it: cut at zero, scaled to [0, 1], raised to a floor, scaled again.

    Args:
        values: (h, w).
        floor: ``--grad_min_level``; what lies below it becomes 0 in the end.
    """
    scaled = _min_max(np.maximum(values.astype(np.float64), 0))
    return _min_max(np.maximum(scaled, floor)).astype(np.float32)


def _min_max(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, np.finfo(values.dtype).tiny)


def save_method_files(
    folder: Path, picture: Image.Image, method: str, maps: np.ndarray, classes: Sequence[int], *, floor: float
) -> None:
    """Write ``<method>_<class>_mask.png``, the grey map, and ``<method>_<class>.png``, jet over the picture.

    Args:
        folder: where to.
        picture: as the model saw it.
        method: its name.
        maps: (t, h, w), a map for each of the classes.
        classes: t.
        floor: see :func:`scaled_map`.
    """
    colour = picture.convert("RGB")
    for label, values in zip(classes, maps, strict=True):
        grey = Image.fromarray((scaled_map(values, floor) * 255).round().astype(np.uint8))
        save_picture(folder / f"{method}_{label}_mask.png", grey)
        save_picture(folder / f"{method}_{label}.png", in_jet(colour, grey))


def save_method_figure(
    path: Path,
    picture: Image.Image,
    rows: Mapping[str, np.ndarray],
    names: Sequence[str],
    *,
    title: str,
    colours: Mapping[str, object] | None = None,
    floor: float = 0.0,
) -> None:
    """One figure: rows the methods, columns the classes, each map over the picture in pale grey.

    The maps of attribution methods are scaled one by one, as their methods mean them; those of slot models (rows in
    ``colours``) over the whole row, since their classes compare.

    Args:
        path: the PNG to write.
        picture: as the model saw it.
        rows: method to maps (t, h, w).
        names: of the t classes.
        title: what the picture is and was taken for.
        colours: colour map of the rows that share a scale.
        floor: see :func:`scaled_map`.
    """
    colours = colours or {}
    width, height = 1 + len(names), len(rows)
    figure = Figure(figsize=(1.3 * width + 0.3, 1.3 * height + 0.7), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False)
    for line, (method, maps) in zip(axes, rows.items(), strict=True):
        line[0].text(1, 0.5, method, ha="right", va="center", fontsize=8, transform=line[0].transAxes)
        shared = method in colours
        for ax, values in zip(line[1:], maps, strict=True):
            shown = np.maximum(values, 0) if shared else scaled_map(values, floor)
            scale = Normalize(0, max(float(maps.max()), 1e-12) if shared else 1.0)
            overlay(ax, picture, shown, colours.get(method, POSITIVE), scale)
    for ax, name in zip(axes[0][1:], names, strict=True):
        ax.set_title(shortened(name), fontsize=8)
    for ax in axes.flat:
        ax.axis("off")
    figure.suptitle(title, fontsize=10)
    save_figure(path, figure)

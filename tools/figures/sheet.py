"""Sheets: figures of pictures, maps and texts at given places, several times as fast as axes and their layout.

Places are inches from the upper left corner of the figure.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from matplotlib.transforms import Bbox, BboxTransformTo, ScaledTranslation
from PIL import Image

POINT = 1 / 72  # inches
LINE = 1.2 * POINT  # height of a line of text, for each point of its size
ABOVE = 6 * POINT  # between a panel and its title
SMOOTH_BELOW = 3.0  # times enlarged; from there on a picture is shown with its pixels
LEVELS = 256  # of a colour map
BAR, TICK, LABEL = 0.09, 3.5 * POINT, 0.14  # widths of the parts of a scale
SMALL = 7  # points, of the values of a scale
DIGIT = 0.64  # width of a digit, for each point of its size


class Box(NamedTuple):
    """Place on a sheet, in inches."""

    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return self.left + self.width / 2, self.top + self.height / 2

    def fitted(self, picture: Image.Image) -> "Box":
        """The largest box of the picture's shape, in the middle of this one."""
        scale = min(self.width / picture.width, self.height / picture.height)
        width, height = scale * picture.width, scale * picture.height
        return Box(self.left + (self.width - width) / 2, self.top + (self.height - height) / 2, width, height)


class Panel(Artist):
    """A picture or, with ``values``, a map in colour over the picture in pale grey, so that all colour is the map's.

    Attributes:
        values: the map (h, w), which is drawn bilinearly.
        title: text above it.
    """

    def __init__(
        self, box: Box, picture: Image.Image, values: np.ndarray | None = None, colours: Colormap | None = None,
        scale: Normalize | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.box, self.picture, self.values, self.colours, self.scale = box, picture, values, colours, scale
        self.title: Text | None = None

    def draw(self, renderer: RendererBase) -> None:
        """Draw it at the resolution of the canvas, at whole pixels."""
        frame = self.get_window_extent(renderer)
        left, bottom, right, top = (round(float(edge)) for edge in frame.extents)
        finer = renderer.get_image_magnification()  # of a page that counts in points
        size = max(round((right - left) * finer), 1), max(round((top - bottom) * finer), 1)
        context = renderer.new_gc()
        renderer.draw_image(context, left, bottom, np.asarray(self.pixels(size))[::-1])
        context.restore()

    def get_window_extent(self, renderer: RendererBase | None = None) -> Bbox:
        """The panel's place on the canvas, in its pixels."""
        left, top, width, height = self.box
        return Bbox.from_extents(left, -top - height, left + width, -top).transformed(self.get_transform())

    def pixels(self, size: tuple[int, int]) -> Image.Image:
        """The panel as an RGBA picture of a size (width, height)."""
        smooth = min(size[0] / self.picture.width, size[1] / self.picture.height) < SMOOTH_BELOW
        how = Image.Resampling.HAMMING if smooth else Image.Resampling.NEAREST
        if self.values is None or self.colours is None or self.scale is None:
            return self.picture.convert("RGB").resize(size, how).convert("RGBA")
        pale = [round((level + 120) * 255 / 375) for level in range(256)]
        below = self.picture.convert("L").resize(size, how).point(pale).convert("RGBA")
        low, high = limits(self.scale)
        levels = (self.values - low) * (LEVELS / (high - low)) - 0.5  # which are rounded
        above = Image.fromarray(levels.astype(np.float32)).resize(size, Image.Resampling.BILINEAR).convert("L")
        above.putpalette(self.colours(np.arange(LEVELS), bytes=True).tobytes(), "RGBA")
        return Image.alpha_composite(below, above.convert("RGBA"))


class Ramp(Panel):
    """The colours of a scale, the highest value above."""

    def __init__(self, box: Box, colours: Colormap, scale: Normalize) -> None:
        low, high = limits(scale)
        values = np.linspace(high, low, LEVELS, dtype=np.float32)[:, None]
        super().__init__(box, Image.new("L", (1, LEVELS), 255), values, colours, scale)


class Sheet:
    """A figure of panels, texts and scales.

    Args:
        width: of the figure, in inches.
        height: of the figure, in inches; what is added below moves nothing.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))
        corner = ScaledTranslation(0, 1, BboxTransformTo(self.figure.bbox))  # the upper left one
        self.inches = self.figure.dpi_scale_trans + corner

    def title(self, text: str, *, size: float) -> float:
        """Write the figure's title; returns where it ends."""
        self.figure.suptitle(text, x=self.width / 2, y=-0.05, fontsize=size, va="top", transform=self.inches)
        return 0.05 + height_of([text], size)

    def text(self, x: float, y: float, text: str, *, size: float, **options: Any) -> Text:
        """Write a text in the middle of a place, unless options of matplotlib's Text say otherwise."""
        options = {"ha": "center", "va": "center", **options}
        return self.figure.text(x, -y, text, fontsize=size, transform=self.inches, **options)

    def panel(
        self, cell: Box, picture: Image.Image, values: np.ndarray | None = None, colours: Colormap | None = None,
        scale: Normalize | None = None, *, title: str = "", size: float = 9, frame: str = "",
    ) -> Panel:  # fmt: skip
        """Show a picture in the middle of a cell, with a map over it, a title above it and a frame of a colour."""
        panel = Panel(cell.fitted(picture), picture, values, colours, scale)
        panel.set_transform(self.inches)
        self.figure.add_artist(panel)
        left, top, width, height = panel.box
        if title:
            panel.title = self.text(left + width / 2, top - ABOVE, title, size=size, va="bottom")
        if frame:
            edge = Rectangle((left, -top - height), width, height, fill=False, edgecolor=frame, linewidth=3)
            edge.set_transform(self.inches)
            self.figure.add_artist(edge)
        return panel

    def lines(self, lines: Sequence[Any], *, style: str = "solid") -> None:
        """Draw thin black lines through points, whose ``y`` is the negative distance from the upper edge."""
        collection = LineCollection(lines, colors="black", linewidths=0.8, linestyles=style, transform=self.inches)
        self.figure.add_artist(collection)

    def scale(self, left: float, beside: Box, colours: Colormap, scale: Normalize, *, label: str = "") -> None:
        """Show a scale beside a panel, with its values and a label to the right of it: :func:`scale_room` wide."""
        box = Box(left, beside.top + 0.075 * beside.height, BAR, 0.85 * beside.height)
        top, height, right = box.top, box.height, left + BAR
        low, high = limits(scale)
        ramp = Ramp(box, colours, scale)
        ramp.set_transform(self.inches)
        self.figure.add_artist(ramp)
        values, texts, factor = ticks(scale)
        places = [top + height * (high - value) / (high - low) for value in values]
        for y, text in zip(places, texts, strict=True):
            self.text(right + 2 * TICK, y, text, size=SMALL, ha="left", va="center_baseline")
        if factor:
            self.text(left, top - ABOVE / 2, factor, size=SMALL, ha="left", va="bottom")
        edges = [[(left, -top), (right, -top), (right, -top - height), (left, -top - height), (left, -top)]]
        edges += [[(right, -y), (right + TICK, -y)] for y in places]
        self.lines(edges)
        if label:
            middle = left + scale_room(scale) + LABEL / 2
            self.text(middle, top + height / 2, label, size=8, rotation=90)


def limits(scale: Normalize) -> tuple[float, float]:
    """Both ends of a scale."""
    return float(scale.vmin or 0), float(scale.vmax or 0)


def ticks(scale: Normalize) -> tuple[list[float], list[str], str]:
    """Round values of a scale, what is written beside them, and their factor, such as ``1e-5``, or nothing."""
    low, high = limits(scale)
    slack = 1e-9 * (high - low)
    values = [v for v in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= v <= high + slack]
    formatter = ScalarFormatter()
    formatter.create_dummy_axis()
    return values, formatter.format_ticks(values), formatter.get_offset()


def scale_room(scale: Normalize, label: str = "") -> float:
    """Width in inches of a scale with its values and its label."""
    return BAR + 2 * TICK + DIGIT * SMALL * POINT * max(map(len, ticks(scale)[1])) + 0.06 + (LABEL if label else 0)


def height_of(texts: Sequence[str], size: float) -> float:
    """Height in inches of the text with the most lines, in characters of a size in points."""
    return max(text.count("\n") + 1 for text in texts) * LINE * size

"""Renderer that draws a line of text once and copies it from then on: figures of one kind share most of their lines."""

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

MAX_LINES = 2000
MARGIN = 4  # pixels around a line, for what its glyphs draw outside their widths


class Line(NamedTuple):
    """A drawn line, and where it begins."""

    pixels: np.ndarray  # (height, width, 4), the lowest row first
    left: int  # from its first column to the beginning of its baseline, in pixels
    below: int  # from its lowest row up to there


_lines: dict[tuple[Any, ...], Line] = {}
_sizes: dict[tuple[Any, ...], tuple[float, float, float]] = {}


def _keep(known: dict[tuple[Any, ...], Any], key: tuple[Any, ...], value: Any) -> Any:
    if len(known) >= MAX_LINES:
        known.clear()
    text, font, *rest = key
    known[text, font.copy(), *rest] = value  # the owner of the font may change it
    return value


class TextCache(RendererAgg):
    """matplotlib's renderer with lines of text at whole pixels, each of which is drawn once in a process."""

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: bool | str
    ) -> tuple[float, float, float]:
        """Size of a line in pixels."""
        key = (s, prop, ismath, self.dpi)
        return _sizes.get(key) or _keep(_sizes, key, super().get_text_width_height_descent(s, prop, ismath))

    def draw_text(
        self, gc: GraphicsContextBase, x: float, y: float, s: str, prop: FontProperties, angle: float,
        ismath: bool | str = False, mtext: Text | None = None,
    ) -> None:  # fmt: skip
        """Draw a line, turned by an angle in degrees; its baseline begins at ``x``, and at ``y`` from the top."""
        if ismath or (mtext and (mtext.get_fontfeatures() or mtext.get_language())):
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        key = (s, prop, angle, self.dpi, gc.get_rgb())
        line = _lines.get(key) or _keep(_lines, key, self._drawn(gc, s, prop, angle))
        self.draw_image(gc, round(x) - line.left, round(self.height - y) - line.below, line.pixels)

    def _drawn(self, gc: GraphicsContextBase, s: str, prop: FontProperties, angle: float) -> Line:
        """Draw a line on a page of its own, large enough whatever the angle is, and cut off its empty edges."""
        reach = math.ceil(sum(self.get_text_width_height_descent(s, prop, False))) + MARGIN
        page = RendererAgg(2 * reach, 2 * reach, self.dpi)
        page.draw_text(gc, reach, reach, s, prop, angle)
        pixels = np.asarray(page.buffer_rgba())[::-1]  # the lowest row first
        rows, columns = (np.flatnonzero(pixels[..., 3].any(axis)) for axis in (1, 0))
        if not len(rows):
            return Line(pixels[:0, :0].copy(), 0, 0)
        bottom, left = int(rows[0]), int(columns[0])
        return Line(pixels[bottom : rows[-1] + 1, left : columns[-1] + 1].copy(), reach - left, reach - bottom)

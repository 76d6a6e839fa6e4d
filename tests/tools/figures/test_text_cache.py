"""Lines of text are those of matplotlib, drawn once."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure

from tools.figures import text_cache
from tools.figures.canvas import PngCanvas


def drawn(canvas, line, *, x=40, color="black", **options):
    """Pixels of a figure with a line that begins at whole pixels."""
    figure = Figure(figsize=(2, 2), dpi=100)
    figure.text(x / 200, 0.5, line, color=color, parse_math=False, **options)
    page = canvas(figure)
    page.draw()
    return np.asarray(page.buffer_rgba())


@pytest.mark.parametrize("options", [
    {}, {"fontsize": 7}, {"color": "0.4"}, {"fontweight": "bold"}, {"x": 170}, {"x": -10},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("line", ["p = 0.912", "gjqy Ä", "קמץ a", " "])
def test_a_line_has_the_pixels_of_matplotlib_also_the_second_time(line, options):
    expected = drawn(FigureCanvasAgg, line, va="baseline", **options).astype(int)
    for _ in range(2):
        # Of a line that is laid over white a second time, a level may be rounded otherwise.
        assert np.abs(drawn(PngCanvas, line, va="baseline", **options) - expected).max() <= 2


@pytest.mark.parametrize("rotation", [90, 30, -60])
def test_a_turned_line_is_moved_by_a_pixel_at_most(rotation):
    places = []
    for canvas in (FigureCanvasAgg, PngCanvas):
        ink = 255.0 - drawn(canvas, "gjqy Ä", x=80, rotation=rotation)[..., 0]
        places.append([ink.sum() / 1e3, *((ink.sum(axis) @ np.arange(200)) / ink.sum() for axis in (0, 1))])
    assert np.abs(np.subtract(*places))[1:].max() < 0.8 and places[0][0] == pytest.approx(places[1][0], rel=0.05)


def test_a_line_is_drawn_once_for_each_font_and_colour(monkeypatch):
    monkeypatch.setattr(text_cache, "_lines", {})
    calls, draw = [], RendererAgg.draw_text
    monkeypatch.setattr(RendererAgg, "draw_text", lambda self, *args, **more: (calls.append(1), draw(self, *args)))
    for place in (10, 50, 50):
        drawn(PngCanvas, "abc", x=place)
    assert len(calls) == 1
    drawn(PngCanvas, "abc\nabc")
    assert len(calls) == 1
    drawn(PngCanvas, "abc", fontsize=20)
    drawn(PngCanvas, "abc", color="red")
    assert len(calls) == 3


def test_the_lines_that_are_kept_do_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(text_cache, "_lines", {})
    monkeypatch.setattr(text_cache, "MAX_LINES", 5)
    for number in range(12):
        drawn(PngCanvas, f"line {number}")
    assert len(text_cache._lines) <= 5

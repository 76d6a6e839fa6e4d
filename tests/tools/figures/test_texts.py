import logging
import warnings

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from PIL import Image

from tools.figures import texts
from tools.figures.curves import save_confusion
from tools.figures.explanations import ClassMap, save_explanation_figure

HARD = ["$", "$x_1$", "$\\\\frac{$", "_", "^", "\\\\", "%", "<b>&", "\"'", "a\nb", "\x1b[31m", "\u202eabc", "\udce9",
        "x" * 200, "猫", "قط", "🐈", "", " "]  # fmt: skip


def test_no_name_of_a_class_ends_a_figure_or_gives_a_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_confusion(tmp_path / "confusion.png", *[np.arange(len(HARD))] * 2, HARD)
        for name in HARD:
            column = ClassMap(name, 1.0, 0.5, np.ones((2, 2)), np.ones((2, 2)), True)
            picture = Image.new("RGB", (8, 8))
            save_explanation_figure(tmp_path / "a.png", picture, [column], title=f"label {name}", negative=False)


def test_a_character_without_a_glyph_becomes_its_code_and_the_packages_are_named_once(caplog):
    texts._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert texts.drawable("a\ue123b") == r"a\ue123b" and texts.drawable("\ue124") == r"\ue124"
    assert len(caplog.records) == 1 and "install fonts-noto-cjk" in caplog.text
    assert texts.drawable("naïve Straße μ") == "naïve Straße μ"


def test_a_font_that_has_the_character_is_used(monkeypatch):
    font = fontManager.findfont(FontProperties(family=["STIXGeneral"]))
    only = next(p for p in sorted(texts.get_font(font).get_charmap()) if p > 0x2000 and p not in texts.characters())
    monkeypatch.setitem(texts.FALLBACKS, "STIXGeneral", "")
    for cached in (texts.families, texts.characters):
        cached.cache_clear()
    try:
        assert texts.families()[-1] == "STIXGeneral" and texts.drawable(chr(only)) == chr(only)
    finally:
        monkeypatch.undo()
        for cached in (texts.families, texts.characters):
            cached.cache_clear()


def drawn(*lines, prepare):
    """Pixels of a figure with these lines."""
    figure = Figure(figsize=(3, 1))
    for number, line in enumerate(lines):
        figure.text(0.05, 0.1 + 0.4 * number, line)
    if prepare:
        texts.prepare_texts(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_names_from_right_to_left_are_drawn_in_their_order():
    left_to_right = "\u202d"  # a mark that forces the order of the code points
    hebrew, arabic = "קמץ", "كلب"
    expected = drawn(left_to_right + hebrew[::-1], "label " + left_to_right + hebrew[::-1], prepare=False)
    assert (drawn(hebrew, f"label {hebrew}", prepare=True) == expected).all()
    assert (drawn(arabic, prepare=True) != drawn(left_to_right + arabic, prepare=False)).any()

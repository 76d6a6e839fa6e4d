"""Texts of figures: names as they are, without TeX, in fonts that have their characters."""

import logging
from collections.abc import Iterator
from functools import cache

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

from tools.text import visible

logger = logging.getLogger(__name__)

# Fonts that have what matplotlib's own font has not, where they are installed, and the Debian packages that have them.
FALLBACKS = {
    "Noto Sans CJK JP": "fonts-noto-cjk",
    "WenQuanYi Zen Hei": "fonts-wqy-zenhei",
    "Noto Sans Arabic": "fonts-noto-core",
    "Noto Sans Hebrew": "fonts-noto-core",
    "Noto Sans Devanagari": "fonts-noto-core",
    "Noto Sans Thai": "fonts-noto-core",
    "Symbola": "fonts-symbola",
    "Arial Unicode MS": "",
    "Microsoft YaHei": "",
    "Segoe UI Emoji": "",
}
PACKAGES = "fonts-noto-cjk (Chinese, Japanese, Korean), fonts-noto-core (Arabic and others) or fonts-symbola (emoji)"


@cache
def families() -> list[str]:
    """Families to draw with, the default first; a font installed after matplotlib made its list is found, too."""
    known = {font.fname for font in fontManager.ttflist}
    hints = [name.replace(" ", "").lower() for name in FALLBACKS]
    for path in findSystemFonts():
        if path not in known and any(hint in path.replace("-", "").lower() for hint in ["wqy", "notosans", *hints]):
            try:
                fontManager.addfont(path)
            except Exception:  # colour fonts and damaged files, which matplotlib cannot draw with
                logger.debug("%s is no font for figures", path)
    have = {font.name for font in fontManager.ttflist}
    return [*matplotlib.rcParams["font.family"], *(name for name in FALLBACKS if name in have)]


@cache
def characters() -> frozenset[int]:
    """Code points that the fonts have."""
    paths = [fontManager.findfont(FontProperties(family=[name])) for name in families()]
    return frozenset(point for path in paths for point in get_font(path).get_charmap())


@cache
def _warn_once() -> None:
    logger.warning("names with characters that no font of this machine has are drawn as codes: install %s", PACKAGES)


def drawable(text: str) -> str:
    r"""Text whose characters all have a glyph; one without becomes its code, like ``\u4e2d``."""
    text = visible(text, keep="\n")
    if text.isascii():
        return text
    missing = {c for c in text if c != "\n" and ord(c) not in characters()}
    if missing:
        _warn_once()
    return "".join(ascii(c)[1:-1] if c in missing else c for c in text)


def _shown_texts(artist: Artist) -> Iterator[Text]:
    """Texts of an artist and its children, without those of axes that are not shown, whose ticks are costly to make."""
    if isinstance(artist, Text):
        yield artist
    hidden = () if not isinstance(artist, Axes) or artist.axison else (artist.xaxis, artist.yaxis)
    for child in artist.get_children():
        if child not in hidden:
            yield from _shown_texts(child)


def prepare_texts(figure: Figure) -> None:
    """Make every text of a figure drawable; call it before the figure is drawn.

    Labels of ticks take their text anew when they are drawn: they must be drawable before.
    """
    for ax in figure.axes:
        for labels in (ax.get_xticklabels, ax.get_yticklabels) if ax.axison else ():
            labels()  # fills in their texts
    for text in _shown_texts(figure):
        text.set_parse_math(False)  # a class may be named "$x_1$", which is no formula
        content = text.get_text()
        if not content.isascii() or visible(content, keep="\n") != content:
            text.set_text(drawable(content))
            text.set_fontfamily(families())

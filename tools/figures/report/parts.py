"""Templates of the report page, and formatting and escaping of the values filled into them."""

import html
import math
import re
import unicodedata
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from tools.text import visible

FOLDER = Path(__file__).parent
NO_VALUE = "-"  # also for NaN and infinity


def text_of(name: str) -> str:
    """Text of a template, style sheet or script."""
    return (FOLDER / name).read_text(encoding="utf-8")


def fill(template: str, **values: Any) -> str:
    """Fill the ``$variables`` of a template with values that are HTML already."""
    return _template(template).substitute(values)


@cache
def _template(name: str) -> Template:
    return Template(text_of(name))  # read once: a page fills those of cards and maps thousands of times


def escape(value: object) -> str:
    """Escape any value for the text of an element or an attribute; marks of the direction of writing become visible."""
    return html.escape(visible(str(value), keep="\n\t"), quote=True)


def breakable(name: object) -> str:
    """Escape a name for the text of an element; a line may break after ``_``, ``.``, ``/``, ``\\`` and ``-``.

    Text around a name that is written from right to left keeps its order.
    """
    name = re.sub(r"([_./\\-]+)(?=[^_./\\-])", r"\1<wbr>", escape(name))
    return f"<bdi>{name}</bdi>"


def isolated(name: object) -> str:
    """Escape a name in the middle of a text that has no elements: of an attribute, or of the choices of a list."""
    text = escape(name)
    leftward = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text)
    return f"\u2068{text}\u2069" if leftward else text


def is_number(value: object) -> bool:
    """Whether a value is an int or float, of Python or numpy, and not a bool."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether a value is a number, and neither NaN nor infinite."""
    return is_number(value) and math.isfinite(float(value))  # type: ignore[arg-type]


def plain(value: object) -> str:
    """Text of a table cell: floats with four decimals, tiny ones with an exponent, None, NaN and infinity as ``-``."""
    if value is None:
        return NO_VALUE
    if not isinstance(value, float | np.floating):
        return escape(value)
    number = float(value)
    if not math.isfinite(number):
        return NO_VALUE
    return f"{number:.1e}" if 0 < abs(number) < 5e-4 else f"{number:.4f}"


def percent(share: float, digits: int = 1) -> str:
    """Text of a share from 0 to 1 in percent."""
    return f"{100 * share:.{digits}f}&nbsp;%" if is_finite(share) else NO_VALUE

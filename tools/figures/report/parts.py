"""Parts of the report page and how they are filled: everything a user named is escaped on its way in."""

import html
import math
import re
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
NOTHING = "-"  # what has no value, or none that is a number


def text_of(name: str) -> str:
    """A part as it stands in its file."""
    return (FOLDER / name).read_text(encoding="utf-8")


def fill(part: str, **values: Any) -> str:
    """A part with its ``$places`` filled; the values are HTML already."""
    return Template(text_of(part)).substitute(values)


def escape(value: object) -> str:
    """Any value as the text of an element or an attribute."""
    return html.escape(str(value), quote=True)


def breakable(name: object) -> str:
    """A name as the text of an element, broken after its joints if need be: class names are long, without spaces."""
    return re.sub(r"([_./\\-]+)(?=[^_./\\-])", r"\1<wbr>", escape(name))


def is_number(value: object) -> bool:
    """An int or float, of numpy or not; not a bool."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """A number, and neither NaN nor infinite."""
    return is_number(value) and math.isfinite(float(value))  # type: ignore[arg-type]


def plain(value: object) -> str:
    """A cell: floats with four digits, tiny ones in powers of ten, what is no number or nothing as ``-``."""
    if value is None:
        return NOTHING
    if not isinstance(value, float | np.floating):
        return escape(value)
    number = float(value)
    if not math.isfinite(number):
        return NOTHING
    return f"{number:.1e}" if 0 < abs(number) < 5e-4 else f"{number:.4f}"


def percent(share: float, digits: int = 1) -> str:
    """A share from 0 to 1 in percent."""
    return f"{100 * share:.{digits}f}&nbsp;%" if is_finite(share) else NOTHING

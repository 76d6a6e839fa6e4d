"""Eight patterns of two colours, which differ in form alone."""

from collections.abc import Callable

import numpy as np

# From the coordinates along and across, as phases in radians: weight of the first colour, about -1 to 1.
_FORMS: list[Callable[[np.ndarray, np.ndarray], np.ndarray]] = [
    lambda u, v: np.cos(u) + np.cos(v) - 0.9,  # dots
    lambda u, v: np.ones_like(u),  # plain
    lambda u, v: np.sin(u * 0.7) * np.sin(v * 0.7),  # chequers
    lambda u, v: np.sin((u + v) * 0.7),  # diagonal lines
    lambda u, v: np.sin(v),  # horizontal lines
    lambda u, v: np.maximum(np.sin(u), np.sin(v)) - 0.75,  # a grid of thin lines
    lambda u, v: np.sin(u),  # vertical lines
    lambda u, v: np.sin(u + 2.2 * np.sin(v * 0.6)),  # waves
]
PATTERNS = len(_FORMS)


def pattern(rng: np.random.Generator, kind: int | None, height: int, width: int, period: float) -> np.ndarray:
    """A pattern (height, width) in [0, 1], at a random phase and slightly rotated; a kind of None means any."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    kind = int(rng.integers(PATTERNS)) if kind is None else kind
    shift, angle = rng.uniform(0, period, 2), rng.uniform(-0.1, 0.1)
    along = (columns - shift[1]) * np.cos(angle) + (rows - shift[0]) * np.sin(angle)
    across = (rows - shift[0]) * np.cos(angle) - (columns - shift[1]) * np.sin(angle)
    form = _FORMS[kind](2 * np.pi * along / period, 2 * np.pi * across / period)
    return np.clip(0.5 + 2 * form, 0, 1)

"""Pictures with labels: what each dataset lists, and one class that serves them all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class DataError(ValueError):
    """Data that is missing, unreadable or does not fill what was asked; one line that says what to do."""


@dataclass(frozen=True)
class Listing:
    """One split of a dataset.

    Attributes:
        pictures: paths, or an array (count, height, width) uint8 of grey pictures.
        labels: class index of each picture.
        class_names: name of each class, in the order of the indices.
    """

    pictures: Sequence[Path] | np.ndarray
    labels: list[int]
    class_names: list[str]

"""Pictures with labels: what each dataset lists, and one class that serves them all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        boxes: where the object of each picture is: left, top, right, bottom in pixels of the stored picture, or
            a Pascal VOC XML file; None for a dataset without.
        wnids: WordNet id of each class, where classes are synsets.
    """

    pictures: Sequence[Path] | np.ndarray
    labels: list[int]
    class_names: list[str]
    boxes: Sequence[tuple[float, float, float, float] | Path] | None = None
    wnids: list[str] | None = None

    def subset(self, indices: Sequence[int]) -> "Listing":
        """The listing of some of its pictures."""
        pictures = self.pictures
        return replace(
            self,
            pictures=pictures[list(indices)] if isinstance(pictures, np.ndarray) else [pictures[i] for i in indices],
            labels=[self.labels[i] for i in indices],
            boxes=None if self.boxes is None else [self.boxes[i] for i in indices],
        )

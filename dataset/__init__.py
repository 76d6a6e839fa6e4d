"""Datasets of labelled pictures: the listing that every reader returns, and the error that it raises."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


class DataError(ValueError):
    """Error of missing, unreadable or unsuitable data; the message is one line that says what to do."""


@dataclass(frozen=True)
class Listing:
    """Pictures, labels and class names of one split of a dataset.

    Attributes:
        pictures: paths, or an array (count, height, width) uint8 of grey pictures.
        labels: class index of each picture.
        class_names: name of each class, in the order of the indices.
        boxes: bounding box of the object in each picture (left, top, right, bottom in pixels of the stored picture),
            or a Pascal VOC XML file, or None or the reason in words for a picture without boxes; None for a dataset
            without boxes.
        wnids: WordNet id of each class if classes are synsets.
        class_ids: number of each class in the dataset's files, if it has one.
        source: the folder that the split was read from, in words; empty if the dataset has one layout only.
        held_out: names of the validation pictures of a fold or of a drawn split; empty for others.
        drawn_from: folder of the class folders, if a share of each class is drawn for validation; the names that are
            held out are then paths from it, and those of a fold are paths from the folder of the data.
        left_for_testing: folder of a test split that neither training nor validation uses.
    """

    pictures: Sequence[Path] | np.ndarray
    labels: list[int]
    class_names: list[str]
    boxes: Sequence[tuple[float, float, float, float] | Path | str | None] | None = None
    wnids: list[str] | None = None
    class_ids: list[str] | None = None
    source: str = ""
    held_out: tuple[str, ...] = ()
    drawn_from: Path | None = None
    left_for_testing: Path | None = None

    def subset(self, indices: Sequence[int]) -> "Listing":
        """Select pictures by index; class names stay the same."""
        pictures = self.pictures
        return replace(
            self,
            pictures=pictures[list(indices)] if isinstance(pictures, np.ndarray) else [pictures[i] for i in indices],
            labels=[self.labels[i] for i in indices],
            boxes=None if self.boxes is None else [self.boxes[i] for i in indices],
        )

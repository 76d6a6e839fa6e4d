"""Pictures of the study: datasets of the project, as they are or in frames, or several of them joined."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from dataset import DataError
from dataset.pictures import PictureDataset
from dataset.registry import build_dataset
from studies.head_study.content import data_fingerprint
from studies.head_study.framed import Framed


class Source(Protocol):
    """One split, as the computation of features reads it."""

    num_classes: int
    img_size: tuple[int, int]
    content: str  # fingerprint of the pictures, labels and boxes

    @property
    def labels(self) -> list[int]:
        """Class of each picture."""

    def pixels(self, index: int) -> Tensor:
        """Pixels (ch, H, W), uint8."""

    def boxes(self, index: int) -> Tensor | None:
        """Boxes (m, 4): left, top, right, bottom in pixels of the resized picture; None if none are known."""


class Pictures:
    """A dataset of the project as a source."""

    def __init__(self, data: PictureDataset) -> None:
        self.data, self.num_classes, self.img_size = data, data.num_classes, data.img_size
        self.labels, self.content = data.listing.labels, data_fingerprint(data)

    def pixels(self, index: int) -> Tensor:
        """Pixels (ch, H, W), uint8."""
        return self.data.pixels(index)

    def boxes(self, index: int) -> Tensor | None:
        """Boxes (m, 4), or None."""
        return self.data.boxes(index)


class Joined:
    """Several sources as one, their classes numbered one after the other."""

    def __init__(self, parts: list[Source]) -> None:
        self.parts, self.img_size = parts, parts[0].img_size
        self.content = " ".join(part.content for part in parts)
        self.num_classes = sum(part.num_classes for part in parts)
        first = np.cumsum([0, *(part.num_classes for part in parts)]).tolist()
        self.labels = [label + start for part, start in zip(parts, first, strict=False) for label in part.labels]
        self.pictures = [(part, index) for part in parts for index in range(len(part.labels))]

    def pixels(self, index: int) -> Tensor:
        """Pixels (ch, H, W), uint8."""
        part, own = self.pictures[index]
        return part.pixels(own)

    def boxes(self, index: int) -> Tensor | None:
        """Boxes (m, 4), or None."""
        part, own = self.pictures[index]
        return part.boxes(own)


@dataclass(frozen=True)
class DatasetChoice:
    """A dataset of ``--data``: its name, its folder, and its number of classes."""

    name: str
    folder: str | None
    num_classes: int | None


def open_source(
    choices: list[DatasetChoice], split: str, *, img_size: tuple[int, int], bad_images: str, frames: int
) -> Source:
    """Open one split of a dataset, or of several joined.

    Args:
        choices: the datasets.
        split: ``train`` or ``val``.
        img_size: (H, W).
        bad_images: see :func:`dataset.registry.build_dataset`.
        frames: number of patterns of the frames around the pictures, 0 for no frames.

    Raises:
        DataError: see :func:`dataset.registry.build_dataset`; or grey datasets are joined with coloured ones.
    """
    opened = [
        build_dataset(
            choice.name, split, dataset_dir=choice.folder, num_classes=choice.num_classes, img_size=img_size,
            bad_images=bad_images,
        ).without_bad_boxes()
        for choice in choices
    ]  # fmt: skip
    if len({data.in_chans for data in opened}) > 1:
        raise DataError(f"--data {' '.join(choice.name for choice in choices)}: grey and coloured pictures cannot be "
                        "joined; give datasets of one kind")  # fmt: skip
    parts: list[Source] = [
        Framed(data, split=split, frames=frames, img_size=img_size) if frames else Pictures(data) for data in opened
    ]
    return parts[0] if len(parts) == 1 else Joined(parts)

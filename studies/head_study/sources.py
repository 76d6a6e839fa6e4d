"""Where pictures come from: data sets of the project, as they are or in frames, and several of them joined."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from dataset import DataError
from dataset.pictures import PictureDataset
from dataset.registry import build_dataset
from studies.head_study.framed import Framed


class Source(Protocol):
    """One split as the features need it."""

    num_classes: int
    img_size: tuple[int, int]

    @property
    def labels(self) -> list[int]: ...

    def pixels(self, index: int) -> Tensor:
        """(ch, H, W) uint8."""

    def boxes(self, index: int) -> Tensor | None:
        """(m, 4) left, top, right, bottom in pixels of the resized picture; None where they are not known."""


class Pictures:
    """A data set of the project."""

    def __init__(self, data: PictureDataset) -> None:
        self.data, self.num_classes, self.img_size = data, data.num_classes, data.img_size
        self.labels = data.listing.labels

    def pixels(self, index: int) -> Tensor:
        """(ch, H, W) uint8."""
        return self.data.pixels(index)

    def boxes(self, index: int) -> Tensor | None:
        """(m, 4), or None."""
        return self.data.boxes(index)


class Joined:
    """Several sources as one: their classes one after the other."""

    def __init__(self, parts: list[Source]) -> None:
        self.parts, self.img_size = parts, parts[0].img_size
        self.num_classes = sum(part.num_classes for part in parts)
        first = np.cumsum([0, *(part.num_classes for part in parts)]).tolist()
        self.labels = [label + start for part, start in zip(parts, first, strict=False) for label in part.labels]
        self.places = [(part, index) for part in parts for index in range(len(part.labels))]

    def pixels(self, index: int) -> Tensor:
        """(ch, H, W) uint8."""
        part, own = self.places[index]
        return part.pixels(own)

    def boxes(self, index: int) -> Tensor | None:
        """(m, 4), or None."""
        part, own = self.places[index]
        return part.boxes(own)


@dataclass(frozen=True)
class Place:
    """A data set: its name, its folder, how many classes."""

    name: str
    folder: str | None
    num_classes: int | None


def open_source(places: list[Place], split: str, *, img_size: tuple[int, int], bad_images: str, frames: int) -> Source:
    """One split of one data set, or of several joined.

    Args:
        places: the data sets.
        split: ``train`` or ``val``.
        img_size: (H, W).
        bad_images: see :func:`build_dataset`.
        frames: patterns of the frames that the pictures are put into, 0 for none.

    Raises:
        DataError: as :func:`build_dataset`; grey data sets joined with coloured ones.
    """
    opened = [
        build_dataset(
            place.name, split, dataset_dir=place.folder, num_classes=place.num_classes, img_size=img_size,
            bad_images=bad_images,
        )
        for place in places
    ]  # fmt: skip
    if len({data.in_chans for data in opened}) > 1:
        raise DataError(f"--dataset {','.join(place.name for place in places)}: grey and colour cannot be joined")
    parts: list[Source] = [
        Framed(data, split=split, frames=frames, img_size=img_size) if frames else Pictures(data) for data in opened
    ]
    return parts[0] if len(parts) == 1 else Joined(parts)

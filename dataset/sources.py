"""Pictures to explain or predict: a choice of pictures of a split, or files of the user."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dataset import DataError, Listing
from dataset.check import decoding_fault, find_unusable, usable_pictures
from dataset.folder import titled_pictures
from dataset.pictures import PictureDataset, open_picture


class Source(NamedTuple):
    """Picture to explain, with its title and label."""

    title: str
    picture: Image.Image  # grey or RGB, of any size
    label: int | None  # None if unknown


class Sources:
    """Sequence of the pictures to explain, each opened when it is needed.

    All of them are decoded once before, so that one that cannot be decoded is known before the first is explained.

    Args:
        in_chans: channels of the opened pictures, 1 or 3.
        data: the split; None for files.
        numbers: indices of the chosen pictures in the split.
        files: files and folders of pictures, used if ``data`` is None.
        bad_images: ``error`` to raise if there are unusable pictures, ``skip`` to leave them out with a warning.

    Raises:
        DataError: see :func:`dataset.folder.titled_pictures`; a picture cannot be decoded, or none
            is left.
    """

    def __init__(
        self, in_chans: int, *, data: PictureDataset | None, numbers: Sequence[int], files: Sequence[str] | None,
        bad_images: str = "error",
    ) -> None:  # fmt: skip
        self.in_chans, self.data, self.numbers = in_chans, data, [*numbers]
        self.files = titled_pictures(files or ()) if data is None else {}
        self.titles = list(self.files) if data is None else [str(number) for number in numbers]
        if data is not None and isinstance(data.listing.pictures, np.ndarray):
            return
        found = self.files.values() if data is None else [Path(data.listing.pictures[number]) for number in numbers]
        usable = _decodable(list(found), bad_images)
        if not usable:
            raise DataError("none of the pictures to explain can be decoded: give others")
        self.titles = [self.titles[index] for index in usable]
        self.numbers = [self.numbers[index] for index in usable] if data is not None else []

    def __len__(self) -> int:
        return len(self.titles)

    def __iter__(self) -> Iterator[Source]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Source:
        title = self.titles[index]
        if self.data is None:
            return Source(title, open_picture(self.files[title], self.in_chans), None)
        number = self.numbers[index]
        return Source(title, self.data.picture(number), self.data.listing.labels[number])


def unlabelled(
    files: Sequence[str], class_names: Sequence[str], *, img_size: tuple[int, int], in_chans: int, bad_images: str
) -> PictureDataset:
    """Pictures of the user without labels, as a dataset whose labels mean nothing.

    Args:
        files: files, or folders of pictures.
        class_names: names of the model's outputs.
        img_size: (H, W) of the samples.
        in_chans: 1 for grey, 3 for RGB.
        bad_images: ``error`` to raise if there are unusable pictures, ``skip`` to leave them out with a warning.

    Raises:
        DataError: there are no pictures, or unusable ones.
    """
    paths = [*titled_pictures(files, flag="--predict").values()]
    usable = [paths[index] for index in usable_pictures(paths, bad_images)]
    if not usable:
        raise DataError(f"--predict {files[0]}: none of the pictures can be used: give others")
    return PictureDataset(
        Listing(usable, [0] * len(usable), [*class_names]), img_size=img_size, in_chans=in_chans,
        num_classes=len(class_names), bad_images=bad_images,
    )  # fmt: skip


def _decodable(paths: list[Path], bad_images: str) -> list[int]:
    """Decode picture files; returns the indices of those that can be decoded."""
    if bad_images == "skip":
        return usable_pictures(paths, bad_images, decoding_fault)
    faults = find_unusable(paths, decoding_fault)
    for index, fault in faults.items():
        more = f", and {len(faults) - 1} more of {len(paths)}" if len(faults) > 1 else ""
        raise DataError(f"the picture {paths[index]} cannot be read: {fault}{more}; repair or remove it, or give "
                        "--bad_images skip")  # fmt: skip
    return list(range(len(paths)))

"""Dataset of pictures as uint8 tensors: opening and converting files, resizing, seeded augmentation."""

import copy
import errno
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dataset import DataError, Listing
from dataset.boxes import boxes_in_frame, read_voc
from dataset.cache import PictureCache
from dataset.changes import Change
from dataset.modes import decode, orientation
from dataset.paper_augmentation import PaperAugmentation
from dataset.quiet import without_warnings
from dataset.random_state import seeded
from dataset.transforms import PictureTransform, resized

logger = logging.getLogger(__name__)


class Sample(NamedTuple):
    """Picture of a dataset with its label."""

    image: Tensor  # (ch, H, W) uint8
    label: int
    number: int  # index of the picture in the dataset
    change: Change = Change()  # what is still to be done to it


class Unusable(NamedTuple):
    """Picture of a dataset that cannot be decoded, with the reason."""

    number: int
    reason: str  # one line, which names the file


def reason(error: Exception) -> str:
    """Shorten an error to its cause, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def raise_shortage(error: Exception) -> None:
    """Raise an error again that is no fault of the picture: a limit on open files, or too little memory."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise error


def open_picture(path: str | Path, in_chans: int, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Open a picture of any size and mode, turn it upright, and convert it to grey or RGB with 8 bits per channel.

    Transparent pictures are put on white. 16-bit pictures are scaled by the depth that the file says or holds; the
    range of 32-bit grey, whose white is unknown, is stretched from the darkest to the brightest pixel.

    Args:
        path: the file.
        in_chans: 1 for grey, 3 for RGB.
        at_least: smallest size (H, W) needed; a larger JPEG may be decoded at 1/2, 1/4 or 1/8 of its size.

    Raises:
        DataError: the file is missing or not a readable picture.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for without end
            raise ValueError("it is not a file")
        with without_warnings():
            # Pictures above Pillow's limit can be used; above twice the limit it raises. No other warning matters.
            return as_mode(decode(path, at_least=at_least), in_chans)
    except Exception as error:  # Pillow raises errors of many types for files that are damaged or no pictures
        raise_shortage(error)
        raise DataError(f"the picture {path} cannot be read: {reason(error)}") from error


def as_mode(picture: Image.Image, in_chans: int) -> Image.Image:
    """Convert a picture of 8 bits per channel to grey (``in_chans`` 1) or RGB; transparent ones are put on white."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    mode = "L" if in_chans == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


class PictureDataset(Dataset[Sample]):
    """Dataset of the pictures of a listing, resized and, if requested, augmented.

    Args:
        listing: pictures of one split.
        img_size: size (H, W) after resizing.
        in_chans: 1 for grey, 3 for RGB.
        num_classes: number of outputs of a classifier, at least the number of classes.
        augment: random transform of a resized picture (ch, H, W) uint8; None for no augmentation. That of the
            published code is only drawn here, and applied when the batch is made.
        bad_images: what a loader does with pictures that cannot be decoded, ``error`` or ``skip``.

    Attributes:
        origin: ``dataset``, ``folder``, ``split``, number of ``pictures`` and fingerprint of ``classes`` of the split;
            empty for pictures that do not come from :func:`dataset.registry.build_dataset`.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        img_size: tuple[int, int],
        in_chans: int,
        num_classes: int,
        augment: PictureTransform | None = None,
        bad_images: str = "error",
    ) -> None:
        self.bad_images = bad_images
        self.listing, self.img_size, self.augment = listing, img_size, augment
        self.in_chans, self.num_classes = in_chans, num_classes
        self.class_names = [*listing.class_names]
        # Outputs without a class need a name, too: their maps can be drawn.
        named = set(listing.class_names)
        self.class_names += [str(label) if str(label) not in named else f"output {label}"
                             for label in range(len(self.class_names), num_classes)]  # fmt: skip
        self.cache: PictureCache | None = None
        self.origin: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.listing.labels)

    def __getitem__(self, item: int | tuple[int, int]) -> Sample:
        """Load the sample of an ``index``, or of ``(index, seed)`` with the seed of its augmentation.

        With a seed the sample depends neither on the worker or process that loads it nor on earlier random numbers.
        """
        index, seed = item if isinstance(item, tuple) else (item, None)
        image, change = self.pixels(index), Change()
        if self.augment is not None:
            with nullcontext() if seed is None else seeded(seed):
                if isinstance(self.augment, PaperAugmentation):
                    change = self.augment.draw()
                else:
                    image = self.augment(image)
        return Sample(image, self.listing.labels[index], index, change)

    def __getitems__(self, items: Sequence[int | tuple[int, int]]) -> list[Sample | Unusable]:
        """Load the samples of a batch; called by torch's loader, where an error of a worker would be a traceback."""
        samples: list[Sample | Unusable] = []
        for item in items:
            try:
                samples.append(self[item])
            except DataError as error:
                samples.append(Unusable(item[0] if isinstance(item, tuple) else item, str(error)))
        return samples

    def use_cache(self, cache: PictureCache) -> None:
        """Take resized pictures from the cache from now on, and store missing ones there."""
        self.cache = cache

    def pixels(self, index: int) -> Tensor:
        """Load the resized picture (ch, H, W) uint8 without augmentation; do not change it in place."""
        if self.cache is not None and (cached := self.cache.get(index)) is not None:
            return cached
        pixels = resized(self.picture(index), self.img_size)
        if self.cache is not None:
            self.cache.put(index, pixels)
        return pixels

    def plain(self) -> "PictureDataset":
        """Copy the dataset without augmentation; the cache is shared."""
        plain = copy.copy(self)
        plain.augment = None
        return plain

    def sample(self, count: int, *, seed: int) -> "PictureDataset":
        """Draw a random subset of at most ``count`` pictures, in the order of the dataset, without augmentation."""
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        return PictureDataset(
            self.listing.subset(chosen.tolist()), img_size=self.img_size, in_chans=self.in_chans,
            num_classes=self.num_classes, bad_images=self.bad_images,
        )  # fmt: skip

    def picture(self, index: int) -> Image.Image:
        """Open the picture before resizing; a large JPEG is decoded only as large as resizing needs it."""
        source = self.listing.pictures[index]
        if isinstance(source, np.ndarray):
            return Image.fromarray(source).convert("L" if self.in_chans == 1 else "RGB")
        return open_picture(source, self.in_chans, at_least=self.img_size)

    def boxes(self, index: int) -> Tensor | None:
        """Boxes (m, 4) of the objects, left, top, right, bottom in pixels of the resized picture; None if unknown."""
        if self.listing.boxes is None:
            return None
        source = self.listing.boxes[index]
        if source is None or isinstance(source, str):
            return torch.zeros(0, 4)
        with without_warnings(), Image.open(Path(self.listing.pictures[index])) as picture:
            size, turned = picture.size, orientation(picture)
        return boxes_in_frame(source, stored_size=size, orientation=turned, img_size=self.img_size)

    def without_bad_boxes(self) -> "PictureDataset":
        """Copy the dataset without boxes that cannot be read; one line counts the pictures that have no boxes."""
        if self.listing.boxes is None:
            return self
        good, faults = [*self.listing.boxes], {}
        for index, source in enumerate(good):
            try:
                if source is None:
                    faults[index] = "there is no file of its boxes"
                elif isinstance(source, str):
                    good[index], faults[index] = None, source
                elif isinstance(source, Path):
                    read_voc(source)
            except DataError as error:
                good[index], faults[index] = None, str(error)
        if faults:
            index, fault = next(iter(faults.items()))
            logger.warning("%d of %d pictures have no boxes and are left out of the metrics that need them, such as %s "
                           "(%s)", len(faults), len(self), self.path(index), fault, extra={"once": True})  # fmt: skip
        checked = copy.copy(self)
        checked.listing = replace(self.listing, boxes=good)
        return checked

    def path(self, index: int) -> str:
        """Path of a picture, or its number if it is not a file."""
        source = self.listing.pictures[index]
        return f"number {index}" if isinstance(source, np.ndarray) else str(source)

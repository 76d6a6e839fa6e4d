"""From files and arrays to uint8 tensors: opening, converting, resizing, seeded augmentation."""

import copy
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import Transform

from dataset import DataError, Listing
from dataset.boxes import boxes_in_frame
from dataset.cache import PictureCache
from dataset.transforms import resized


class Sample(NamedTuple):
    """A picture of a dataset; a batch of them has the same fields with a leading axis."""

    image: Tensor  # (ch, H, W) uint8
    label: int
    number: int  # of the picture in the dataset


# What Pillow raises for files that are missing, forbidden, damaged, no pictures, or too large to be meant.
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def reason(error: Exception) -> str:
    """The cause of an error in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def open_picture(path: str | Path, in_chans: int, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Open a picture of any size and mode upright, as grey (``in_chans`` 1) or RGB (3), 8 bits a channel.

    Transparent pictures are laid over white; 16-bit grey is scaled to 8 bits, and 32-bit grey, which
    has no known white, from its darkest to its brightest.

    Args:
        path: the file.
        in_chans: 1 or 3.
        at_least: (H, W) that will do; a large JPEG is then decoded at a half, a quarter or an eighth.

    Raises:
        DataError: the file is missing or not a readable picture.
    """
    try:
        with warnings.catch_warnings():
            # Large is no fault; what is twice as large as this warning's limit raises an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                if at_least is not None:
                    file.draft(None, (max(at_least), max(at_least)))  # upright or lying, both sides will do
                file.load()
                ImageOps.exif_transpose(file, in_place=True)  # most pictures need no copy
                picture: Image.Image = file
    except UNREADABLE as error:
        raise DataError(f"the picture {path} cannot be read: {reason(error)}") from error
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))  # 65535 -> 255
    elif picture.mode in ("I", "F"):
        values = np.asarray(picture, dtype=np.float64)
        span = max(values.max() - values.min(), np.finfo(np.float64).tiny)
        picture = Image.fromarray(((values - values.min()) / span * 255).round().astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    mode = "L" if in_chans == 1 else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


class PictureDataset(Dataset[Sample]):
    """A listing made into samples.

    Args:
        listing: the pictures of one split.
        img_size: (H, W) that they are resized to.
        in_chans: 1 for grey, 3 for RGB.
        num_classes: outputs a classifier of it needs.
        augment: a random change of a resized picture (ch, H, W) uint8; None leaves them as they are.
    """

    def __init__(
        self,
        listing: Listing,
        *,
        img_size: tuple[int, int],
        in_chans: int,
        num_classes: int,
        augment: Transform | None = None,
    ) -> None:
        self.listing, self.img_size, self.augment = listing, img_size, augment
        self.in_chans, self.num_classes = in_chans, num_classes
        self.class_names = [*listing.class_names]
        # Outputs that no category of the data fills still need a name where maps are drawn.
        self.class_names += [str(label) for label in range(len(self.class_names), num_classes)]
        self.cache: PictureCache | None = None

    def __len__(self) -> int:
        return len(self.listing.labels)

    def __getitem__(self, item: int | tuple[int, int]) -> Sample:
        """Sample ``index``, or ``(index, seed)`` with the seed that its augmentation draws from.

        With the seed given, the sample does not depend on the worker or the process that makes it, nor on
        what was drawn before.
        """
        index, seed = item if isinstance(item, tuple) else (item, None)
        image = self.pixels(index)
        if self.augment is not None:
            with torch.random.fork_rng(devices=[], enabled=seed is not None):
                if seed is not None:
                    torch.manual_seed(seed)
                image = self.augment(image)
        return Sample(image, self.listing.labels[index], index)

    def use_cache(self, cache: PictureCache) -> None:
        """Keep resized pictures there from now on."""
        self.cache = cache

    def pixels(self, index: int) -> Tensor:
        """(ch, H, W) uint8, the resized picture without augmentation; not to be changed in place."""
        if self.cache is not None and (cached := self.cache.get(index)) is not None:
            return cached
        pixels = resized(self.picture(index), self.img_size)
        if self.cache is not None:
            self.cache.put(index, pixels)
        return pixels

    def plain(self) -> "PictureDataset":
        """The same pictures without augmentation, from the same cache."""
        same = copy.copy(self)
        same.augment = None
        return same

    def sample(self, count: int, *, seed: int) -> "PictureDataset":
        """A fixed random sample of so many pictures, or all of them, in their order, without augmentation."""
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        return PictureDataset(
            self.listing.subset(chosen.tolist()), img_size=self.img_size, in_chans=self.in_chans,
            num_classes=self.num_classes,
        )  # fmt: skip

    def picture(self, index: int) -> Image.Image:
        """The picture before the transform; a large JPEG as large as the transform needs it."""
        source = self.listing.pictures[index]
        if isinstance(source, np.ndarray):
            return Image.fromarray(source).convert("L" if self.in_chans == 1 else "RGB")
        return open_picture(source, self.in_chans, at_least=self.img_size)

    def boxes(self, index: int) -> Tensor | None:
        """(m, 4) left, top, right, bottom of the objects, in pixels of the resized picture; None without boxes."""
        if self.listing.boxes is None:
            return None
        with Image.open(Path(self.listing.pictures[index])) as picture:
            size, orientation = picture.size, picture.getexif().get(ExifTags.Base.Orientation, 1)
        source = self.listing.boxes[index]
        return boxes_in_frame(source, stored_size=size, orientation=orientation, img_size=self.img_size)

    def path(self, index: int) -> str:
        """The file of a picture, or its number where it has none."""
        source = self.listing.pictures[index]
        return f"number {index}" if isinstance(source, np.ndarray) else str(source)

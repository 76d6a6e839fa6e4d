"""From files and arrays to uint8 tensors: opening, converting, resizing, seeded augmentation."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from dataset import DataError, Listing

Transform = Callable[[Image.Image], Tensor]


class Sample(NamedTuple):
    """A picture of a dataset; a batch of them has the same fields with a leading axis."""

    image: Tensor  # (ch, H, W) uint8
    label: int
    number: int  # of the picture in the dataset


def open_picture(path: str | Path, in_chans: int) -> Image.Image:
    """Open a picture of any size and mode upright, as grey (``in_chans`` 1) or RGB (3), 8 bits a channel.

    Transparent pictures are laid over white; 16-bit grey is scaled to 8 bits, and 32-bit grey, which
    has no known white, from its darkest to its brightest.

    Raises:
        DataError: the file is missing or not a readable picture.
    """
    try:
        with Image.open(path) as file:
            picture: Image.Image = ImageOps.exif_transpose(file)
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise DataError(f"the picture {path} cannot be read: {reason}") from error
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
    return picture.convert("L" if in_chans == 1 else "RGB")


class PictureDataset(Dataset[Sample]):
    """A listing made into samples.

    Args:
        listing: the pictures of one split.
        transform: a PIL picture to a uint8 tensor (ch, H, W).
        in_chans: 1 for grey, 3 for RGB.
        num_classes: outputs a classifier of it needs.
    """

    def __init__(self, listing: Listing, *, transform: Transform, in_chans: int, num_classes: int) -> None:
        self.listing, self.transform = listing, transform
        self.in_chans, self.num_classes = in_chans, num_classes
        self.class_names = [*listing.class_names]
        # Outputs that no category of the data fills still need a name where maps are drawn.
        self.class_names += [str(label) for label in range(len(self.class_names), num_classes)]

    def __len__(self) -> int:
        return len(self.listing.labels)

    def __getitem__(self, item: int | tuple[int, int]) -> Sample:
        """Sample ``index``, or ``(index, seed)`` with the seed that its augmentation draws from.

        With the seed given, the sample does not depend on the worker or the process that makes it, nor on
        what was drawn before.
        """
        index, seed = item if isinstance(item, tuple) else (item, None)
        picture = self.picture(index)
        if seed is None:
            image = self.transform(picture)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                image = self.transform(picture)
        return Sample(image, self.listing.labels[index], index)

    def picture(self, index: int) -> Image.Image:
        """The picture as it is stored, before the transform."""
        source = self.listing.pictures[index]
        if isinstance(source, np.ndarray):
            return Image.fromarray(source).convert("L" if self.in_chans == 1 else "RGB")
        return open_picture(source, self.in_chans)

    def name(self, index: int) -> str:
        """What to call a picture: its file, or its number where it has none."""
        source = self.listing.pictures[index]
        return f"number {index}" if isinstance(source, np.ndarray) else str(source)

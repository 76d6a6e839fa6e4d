"""Pictures of a dataset in patterned frames among distractors: more classes than it has, and exact boxes.

A class is a class of the dataset combined with the pattern of the frame. The picture, cropped to its object if a box is
known, is pasted small at a random position on a background of coloured clouds; around it are pieces of frames of any
pattern and curved strokes, in colours of the same range. So a classifier must recognise the object and its own frame;
neither a colour nor a pattern somewhere in the picture gives the class away. Every picture is drawn from its own seed,
the same on every machine; nothing is written.
"""

from collections import defaultdict

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dataset.pictures import PictureDataset
from studies.head_study.content import data_fingerprint
from studies.head_study.patterns import pattern

SIDE = 224  # side of a drawn picture; all sizes below are in its pixels
TARGET_PICTURES = {"train": 3000, "val": 1000}  # pictures of a split, rounded so that all classes have the same number
SPLITS = ("train", "val")
Box = tuple[int, int, int, int]


class Framed:
    """One split of a dataset in frames.

    Args:
        data: the split.
        split: ``train`` or ``val``, which draw different random numbers.
        frames: number of patterns, at most :data:`studies.head_study.patterns.PATTERNS`.
        img_size: (H, W).
    """

    def __init__(self, data: PictureDataset, *, split: str, frames: int, img_size: tuple[int, int]) -> None:
        self.data, self.split, self.frames, self.img_size = data, split, frames, img_size
        self.num_classes, self.content = data.num_classes * frames, data_fingerprint(data)
        members = defaultdict(list)
        for index, label in enumerate(data.listing.labels):
            members[label].append(index)
        each = max(1, -(-TARGET_PICTURES[split] // self.num_classes))
        self.items = []  # for each picture: index in the dataset, and pattern
        for label in sorted(members):
            order = np.random.default_rng([SPLITS.index(split), label]).permutation(members[label])
            for kind in range(frames):  # each pattern begins with another picture
                rolled = np.roll(order, -kind * each)[:each]
                self.items += [(int(index), kind) for index in rolled]
        self.labels = [data.listing.labels[index] * frames + kind for index, kind in self.items]
        self._last: tuple[int, Image.Image, Box] | None = None  # callers ask for its pixels, then for its box

    def pixels(self, index: int) -> Tensor:
        """Pixels (3, H, W), uint8."""
        picture = self._drawn(index)[0].resize(self.img_size[::-1], Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    def boxes(self, index: int) -> Tensor:
        """Box (1, 4) of the frame: left, top, right, bottom, in pixels of the resized picture."""
        height, width = self.img_size
        box = torch.tensor([self._drawn(index)[1]], dtype=torch.float32)
        return box * torch.tensor([width, height, width, height]) / SIDE

    def _drawn(self, index: int) -> tuple[Image.Image, Box]:
        if self._last is None or self._last[0] != index:
            self._last = index, *self._draw(index)
        return self._last[1:]

    def _draw(self, index: int) -> tuple[Image.Image, Box]:
        rng = np.random.default_rng([SPLITS.index(self.split), self.frames, index])
        own, kind = self.items[index]
        canvas = _background(rng)
        band = int(rng.integers(16, 23))
        width, height = (int(side) for side in rng.integers(95, 135, 2) + 2 * band)
        x, y = int(rng.integers(0, SIDE - width)), int(rng.integers(0, SIDE - height))
        box = (x, y, x + width, y + height)
        for _ in range(rng.integers(2, 5)):
            _stroke(rng, canvas, clear_of=box)
        for _ in range(rng.integers(2, 5)):
            _piece(rng, canvas, clear_of=box)
        canvas.paste(_filled(rng, kind, width, height), (x, y))
        inside = self._object(own).resize((width - 2 * band, height - 2 * band), Image.Resampling.BILINEAR)
        canvas.paste(inside, (x + band, y + band))
        return canvas, box

    def _object(self, index: int) -> Image.Image:
        """A picture of the dataset, cropped to its first box, if it has one, and a tenth of its size around it."""
        pixels = self.data.pixels(index)  # (ch, H, W)
        _, height, width = pixels.shape
        picture = Image.fromarray(pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())
        boxes = self.data.boxes(index)
        if boxes is None or not len(boxes):
            return picture
        left, top, right, bottom = boxes[0].tolist()
        around = 0.1 * (right - left), 0.1 * (bottom - top)
        return picture.crop((
            max(0, round(left - around[0])), max(0, round(top - around[1])),
            min(width, round(right + around[0])), min(height, round(bottom + around[1])),
        ))  # fmt: skip


def _background(rng: np.random.Generator) -> Image.Image:
    """A background: clouds of similar colours."""
    coarse = rng.normal(0, 18, (int(rng.integers(3, 9)),) * 2 + (3,)) + rng.uniform(40, 215, 3)
    return Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _filled(rng: np.random.Generator, kind: int | None, width: int, height: int) -> Image.Image:
    """A rectangle filled with a pattern of two colours; a kind of None means any pattern."""
    share = pattern(rng, kind, height, width, rng.uniform(9, 13))[:, :, None]
    first, second = rng.uniform(0, 255, (2, 3))
    while abs(first.mean() - second.mean()) < 60:
        second = rng.uniform(0, 255, 3)
    return Image.fromarray((share * first + (1 - share) * second).astype(np.uint8))


def _piece(rng: np.random.Generator, canvas: Image.Image, *, clear_of: Box) -> None:
    """Paste a bar as wide as a frame, of any pattern, horizontal or vertical."""
    size = int(rng.integers(16, 23)), int(rng.integers(30, 90))
    width, height = size if rng.random() < 0.5 else size[::-1]
    corner = _free_corner(rng, width, height, clear_of)
    if corner is not None:
        canvas.paste(_filled(rng, None, width, height), corner)


def _stroke(rng: np.random.Generator, canvas: Image.Image, *, clear_of: Box) -> None:
    """Draw a curved line of one colour."""
    width, height = (int(value) for value in rng.integers(20, 60, 2))
    corner = _free_corner(rng, width, height, clear_of)
    if corner is None:
        return
    ends = rng.uniform(0, 1, (3, 2)) * (width, height) + corner
    t = np.linspace(0, 1, 24)[:, None]
    curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    ImageDraw.Draw(canvas).line(
        [tuple(point) for point in curve.tolist()], fill=colour, width=int(rng.integers(4, 9)), joint="curve"
    )


def _free_corner(rng: np.random.Generator, width: int, height: int, box: Box) -> tuple[int, int] | None:
    """Left and top of a rectangle that does not touch a box; None if 20 tries found none."""
    for _ in range(20):
        x, y = int(rng.integers(-width // 4, SIDE - width // 2)), int(rng.integers(-height // 4, SIDE - height // 2))
        if x >= box[2] + 3 or x + width <= box[0] - 3 or y >= box[3] + 3 or y + height <= box[1] - 3:
            return x, y
    return None

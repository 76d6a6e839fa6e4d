"""Grid pointing game on whole pictures (Boehle, Fritz and Schiele, CVPR 2021, section 4.1).

Pictures of different classes, the most confidently right ones first, are put together to mosaics of 2x2 or 3x3, and
the whole mosaic goes through the model. The map of a class should lie on its own picture: a box cannot distinguish a
map of the class from a map of anything salient, but here every picture is salient. A map that ignores the class has 1/4
or 1/9.

The mosaic is 2 or 3 times as high and wide as a picture, so that each picture has the size that the model knows: for
convolutional models and slot heads, whose position encoding is computed for any grid. A model that cannot take such a
picture (a ViT of a fixed size) gets a mosaic of its own size, whose pictures are a half or a third as high and wide.

The game cannot tell whether the map is on the object or on what surrounds it, nor whether it is right about hard
pictures: only pictures that the model is sure of are played with. The mosaic is unlike any picture of the training.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.explain.interface import Logits, PictureBatch
from engine.explain.metrics.subject import Subject
from sloter.stages import UNSUPPORTED
from tools import distributed
from tools.console import progress

logger = logging.getLogger(__name__)

SIDES = (2, 3)  # pictures along each edge of a mosaic


def draw_mosaics(confident: Sequence[tuple[float, int, int]], *, side: int, mosaics: int, seed: int) -> Tensor:
    """Choose the pictures of mosaics, each in at most one of them.

    A mosaic takes the classes that were taken least so far, of equal ones at random, and of each class the picture of
    the highest probability that is left.

    Args:
        confident: probability, class and number of each picture that is classified right.
        side: pictures along each edge.
        mosaics: largest number of mosaics.
        seed: seed of the classes and of their places.

    Returns:
        Numbers (mosaics, side * side) of the pictures; fewer mosaics, or none, where there are too few pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    left: dict[int, list[int]] = {}
    for _, label, number in sorted(confident, key=lambda own: (own[0], -own[2])):
        left.setdefault(label, []).append(number)  # the last one is the most confident
    taken, rows = dict.fromkeys(left, 0), list[list[int]]()
    while len(rows) < mosaics:
        classes = sorted(label for label, numbers in left.items() if numbers)
        if len(classes) < side * side:
            break
        shuffled = [classes[i] for i in torch.randperm(len(classes), generator=generator).tolist()]
        chosen = sorted(shuffled, key=lambda label: taken[label])[: side * side]
        chosen = [chosen[i] for i in torch.randperm(len(chosen), generator=generator).tolist()]
        rows.append([left[label].pop() for label in chosen])
        for label in chosen:
            taken[label] += 1
    return torch.tensor(rows, dtype=torch.long).view(-1, side * side)


def compose(images: Tensor, side: int, *, shrink: bool) -> Tensor:
    """Arrange pictures (side * side, ch, H, W), row by row, to a mosaic (1, ch, side * H, side * W).

    With ``shrink`` the mosaic is (1, ch, H, W).
    """
    tiles = images.unflatten(0, (side, side))  # (side, side, ch, H, W)
    mosaic = tiles.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[None]
    size = (images.shape[-2], images.shape[-1])
    return F.interpolate(mosaic, size, mode="bilinear", antialias=True) if shrink else mosaic


def shares_of_own(maps: Tensor, side: int) -> Tensor:
    """Share (t) of the positive part of each map (t, h, w) that lies on its own tile; map i belongs to tile i.

    A place that several tiles share is divided by area. An empty map has 0.
    """
    maps = maps.clamp_min(0).cpu().double()
    rows, columns = (_overlaps(length, side).to(maps) for length in maps.shape[1:])  # (side, h), (side, w)
    sums = torch.einsum("rh,thw,cw->trc", rows, maps, columns).flatten(1)  # (t, tiles)
    return sums.diagonal() / sums.sum(1).clamp_min(torch.finfo(sums.dtype).tiny)


def _overlaps(length: int, side: int) -> Tensor:
    """Share (side, length) of each of ``length`` cells that lies in each of ``side`` equal parts of their line."""
    cells = torch.arange(length, dtype=torch.float64)
    ends = torch.arange(side + 1, dtype=torch.float64)[:, None] * length / side
    return (torch.minimum(ends[1:], cells + 1) - torch.maximum(ends[:-1], cells)).clamp_min(0)


@torch.no_grad()
def confident_pictures(subject: Subject) -> tuple[list[tuple[float, int, int]], list[int]]:
    """Probability, class and number of each picture of any process that the model classifies right.

    Also the numbers of all pictures of this process.
    """
    found, seen = [], []
    for batch in progress(subject.loader, f"{subject.title}: confident pictures"):
        seen += batch.numbers.tolist()
        highest = subject.logits(batch.images).float().softmax(1).max(1)
        right = highest.indices == batch.labels
        columns = (highest.values[right], batch.labels[right], batch.numbers.to(right.device)[right])
        found += list(zip(*(column.tolist() for column in columns), strict=True))
    return distributed.gather(found), seen


def takes(logits: Logits, images: Tensor) -> bool:
    """Whether a model takes pictures of this size."""
    try:
        with torch.no_grad():
            logits(images)
    except torch.OutOfMemoryError:
        raise  # a RuntimeError, too
    except UNSUPPORTED:
        return False
    return True


def grid_game(subject: Subject) -> list[dict[str, float]]:
    """``grid_2x2`` and ``grid_3x3`` of the pictures in this process's mosaics; other pictures have their number alone.

    Near 1 at best. Of a negative model, whose maps deny their class, the other way round, and its empty maps are left
    out. A side for which there are too few classes with pictures that are classified right is left out with a note.
    """
    confident, seen = confident_pictures(subject)
    records: list[dict[str, float]] = [{"number": number} for number in seen]
    for side in SIDES:
        numbers = draw_mosaics(confident, side=side, mosaics=subject.settings.grid_mosaics, seed=subject.settings.seed)
        if not len(numbers):
            logger.warning("grid_%dx%d is left out: it needs pictures of %d classes that are classified right, and "
                           "there are %d", side, side, side * side, len({own[1] for own in confident}),
                           extra={"once": True})  # fmt: skip
            continue
        records += play(subject, numbers, {own[2]: own[1] for own in confident}, side)
    return records


def play(subject: Subject, numbers: Tensor, labels: dict[int, int], side: int) -> list[dict[str, float]]:
    """Records of the pictures in this process's share of mosaics (mosaics, side * side) of pictures of these labels."""
    first = subject.pictures(numbers[0].tolist())
    shrink = not takes(subject.logits, compose(first, side, shrink=False))
    if shrink:
        logger.warning("grid_%dx%d: the model takes pictures of one size only, so that those of a mosaic are shrunk",
                       side, side, extra={"once": True})  # fmt: skip
    mosaics = _Mosaics(subject, numbers, side, shrink=shrink)
    explainer, records = subject.rebuild(mosaics), []
    mine = range(distributed.rank(), len(numbers), distributed.world_size())
    for index in progress(mine, f"{subject.title}: grid {side}x{side}"):
        chosen = numbers[index].tolist()
        images = mosaics.images(index)
        targets = torch.tensor([[labels[number] for number in chosen]], device=images.device)  # (1, tiles)
        maps = explainer(images, targets)[0]  # (tiles, h, w)
        empty = maps.flatten(1).amax(1) <= 0
        for number, share, blank in zip(chosen, shares_of_own(maps, side).tolist(), empty.tolist(), strict=True):
            if subject.explained is None or not blank:
                records.append({"number": number, f"grid_{side}x{side}": share})
    return records


class _Mosaic(NamedTuple):
    images: Tensor  # (1, ch, H, W)


class _Mosaics:
    """Mosaics, one at a time; as batches they are what a method that needs pictures of the dataset is built with.

    There each comes a second time with its pictures in reverse order, since statistics need more than one.
    """

    def __init__(self, subject: Subject, numbers: Tensor, side: int, *, shrink: bool) -> None:
        self.subject, self.numbers, self.side, self.shrink = subject, numbers, side, shrink

    def images(self, index: int, *, reverse: bool = False) -> Tensor:
        """Mosaic (1, ch, H, W) of this index."""
        chosen = self.numbers[index].tolist()
        tiles = self.subject.pictures(chosen[::-1] if reverse else chosen)
        return compose(tiles, self.side, shrink=self.shrink)

    def __iter__(self) -> Iterator[PictureBatch]:
        for index in range(len(self.numbers)):
            yield _Mosaic(self.images(index))
            yield _Mosaic(self.images(index, reverse=True))

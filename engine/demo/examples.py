"""Examples of the page: a fixed random choice of pictures of a validation split, spread over its classes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dataset import DataError
from dataset.pictures import PictureDataset
from dataset.registry import dataset_spec

TRIES = 3  # pictures that may be tried for each example, since some may not be readable


class Example(NamedTuple):
    """Picture of a split with its label."""

    title: str
    picture: Image.Image  # grey or RGB, of any size
    label: int


def check_on_disk(dataset: str, folder: str | None) -> None:
    """Raise where reading a dataset would download it, which a page must not do.

    Raises:
        DataError: an unknown dataset, or one that is not there.
    """
    spec = dataset_spec(dataset)
    root = folder or spec.default_dir
    if spec.default_dir and not Path(root or "", dataset, "raw").is_dir():
        raise DataError(f"{dataset} is not in {root}: give its --dataset_dir, or --examples 0")


def choose_examples(data: PictureDataset, count: int, *, seed: int = 0) -> list[Example]:
    """Choose pictures at random, the classes in turn; those that cannot be decoded are left out.

    Args:
        data: the split.
        count: number of examples, at most that of the pictures.
        seed: of the choice.
    """
    found: list[Example] = []
    for number in _in_turn(data.listing.labels, seed)[: TRIES * count]:
        if len(found) == count:
            break
        try:
            found.append(Example(f"picture {number}", data.picture(number), data.listing.labels[number]))
        except DataError:
            continue
    return sorted(found, key=lambda example: example.label)


def _in_turn(labels: Sequence[int], seed: int) -> list[int]:
    """Indices in random order, one of each class before the second one of any."""
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    seen: Counter[int] = Counter()
    turns = {}
    for number in order:
        turns[number] = seen[labels[number]]
        seen[labels[number]] += 1
    return sorted(order, key=turns.__getitem__)

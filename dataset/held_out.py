"""Splits that keep the validation pictures of a trained model, known by their names, when pictures come and go."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dataset import DataError, Listing
from dataset.classes import composed

logger = logging.getLogger(__name__)


def picture_names(listing: Listing, root: Path | None) -> list[str]:
    """Name of each picture of a listing: its path from a folder above it, or its number if it is not a file."""
    if isinstance(listing.pictures, np.ndarray) or root is None:
        return [str(index) for index in range(len(listing.labels))]
    prefix = str(root).rstrip(os.sep) + os.sep  # as text: pathlib would take four seconds for 300,000 paths
    names = (os.fspath(picture).removeprefix(prefix) for picture in listing.pictures)
    return [composed(name.replace(os.sep, "/")) for name in names]


def drawn_listing(read: Callable[[str], Listing], split: str, *, held_out: Sequence[str] | None = None) -> Listing:
    """A split of a dataset; where it is drawn at random, the validation pictures have names.

    The draw changes when pictures are added or removed, and would then hold out pictures that a model was trained on.

    Args:
        read: reads a split of the dataset; ``all`` are the pictures that are not split yet.
        split: ``train``, ``val`` or ``test``.
        held_out: names of the validation pictures of a trained model, which then validate, while others train. Data
            that have none of them are other data, whose split is drawn.
    """
    listing = all_pictures(read) if held_out and split != "test" else None
    if held_out and listing and listing.drawn_from:
        found = keep_held_out(listing, picture_names(listing, listing.drawn_from), held_out, split)
        if found:
            part = "" if split == "val" else "all but "
            source = f"{part}what the training held out of {listing.drawn_from}"
            return replace(found, source=source, held_out=tuple(held_out))
    listing = read(split)
    if split != "val" or listing.drawn_from is None:
        return listing
    return replace(listing, held_out=tuple(picture_names(listing, listing.drawn_from)))


def all_pictures(read: Callable[[str], Listing]) -> Listing | None:
    """The split ``all`` of a dataset; None of a test set alone, which has no pictures to train on."""
    try:
        return read("all")
    except DataError:
        return None


def keep_held_out(listing: Listing, names: Sequence[str], held_out: Sequence[str], split: str) -> Listing | None:
    """The pictures of a listing, of these names, that are held out (``val``), or the others.

    Names without a picture are noted; if there is no picture for any of them, the data are others: None.
    """
    chosen = {composed(name) for name in held_out}
    missing = chosen.difference(names)
    if missing == chosen:
        say_others(held_out)
        return None
    if missing:
        logger.warning("%d of the %d pictures that the training held out are not there, such as %s", len(missing),
                       len(chosen), min(missing), extra={"once": True})  # fmt: skip
    return listing.subset([index for index, name in enumerate(names) if (name in chosen) == (split == "val")])


def say_others(held_out: Sequence[str]) -> None:
    """Note that data have none of the pictures that a training held out."""
    logger.warning("none of the %d pictures that the training held out are there: these data are taken for others, and "
                   "have a split of their own", len(held_out), extra={"once": True})  # fmt: skip

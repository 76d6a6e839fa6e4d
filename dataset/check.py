"""Check of picture files before a run: unusable files, and files with the same content in two classes."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset import DataError, Listing
from dataset.known_files import KnownFiles, threaded
from dataset.pictures import open_picture, raise_shortage, reason
from dataset.quiet import without_warnings
from dataset.scan import nested_pictures

logger = logging.getLogger(__name__)

MAX_FAULTS_IN_MESSAGE = 20
JPEG_TAIL_BYTES = 4096  # a complete JPEG file has its end marker within these last bytes
END_OF_JPEG = b"\xff\xd9"


def picture_fault(path: Path) -> str | None:
    """Reason why a picture file cannot be used, None if it can.

    Verifies the header, and the checksums of a PNG; a JPEG without an end marker near its end, and files of other
    formats, are decoded. What is damaged inside a JPEG or PNG is found when it is loaded, see
    :class:`dataset.loaders.DeviceLoader`.
    """
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        with without_warnings(), Image.open(path) as picture:
            file_format = picture.format
            picture.verify()
        if file_format in ("JPEG", "MPO"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - JPEG_TAIL_BYTES))
                if END_OF_JPEG in file.read():
                    return None
        elif file_format == "PNG":
            return None
    except Exception as error:  # Pillow raises errors of many types for files that are damaged or no pictures
        raise_shortage(error)
        return reason(error)
    return decoding_fault(path)


def decoding_fault(path: Path) -> str | None:
    """Reason why a picture file cannot be decoded, None if it can."""
    try:
        open_picture(path, 3)
    except DataError as error:
        return str(error).partition("cannot be read: ")[2]
    return None


def find_unusable(paths: Sequence[Path], fault_of: Callable[[Path], str | None] | None = None) -> dict[int, str]:
    """Index and fault, found by a function, of each picture file that cannot be used."""
    with tqdm(total=len(paths), desc="check pictures", leave=False, delay=2.0) as bar:
        faults = threaded(fault_of or picture_fault, paths, bar.update)
    return {index: fault for index, fault in enumerate(faults) if fault is not None}


def check_pictures(listing: Listing, bad_images: str, known: KnownFiles | None = None) -> Listing:
    """Check the files of a listing, leave out the unusable ones, and warn of files that are in two classes.

    Args:
        listing: listing of files.
        bad_images: ``error`` to raise if there are unusable files, ``skip`` to leave them out with a warning.
        known: files that are not to be read again unless they have changed.

    Raises:
        DataError: there are unusable files, and ``bad_images`` is ``error``.
    """
    known = known or KnownFiles()
    usable = usable_pictures(_paths(listing), bad_images, known=known)
    if len(usable) < len(listing.pictures):
        listing = listing.subset(usable)
    pairs = find_conflicting_labels(_paths(listing), listing.labels, known)
    known.save()
    if pairs:
        logger.warning("%d pictures are in two classes, such as %s and %s", len(pairs), *pairs[0])
    return listing


def _paths(listing: Listing) -> list[Path]:
    """Paths of the files of a listing; a new object for each of a million paths would take seconds."""
    return [picture if isinstance(picture, Path) else Path(picture) for picture in listing.pictures]


def usable_pictures(
    paths: Sequence[Path], bad_images: str, fault_of: Callable[[Path], str | None] | None = None, *,
    known: KnownFiles | None = None,
) -> list[int]:  # fmt: skip
    """Check picture files by a function, and leave out the unusable ones with one line; returns the others' indices.

    With ``known``, files that were usable at an earlier start and have not changed are not read; unusable ones are,
    since they may have been unreadable for another reason than their content.

    Raises:
        DataError: there are unusable files, and ``bad_images`` is ``error``.
    """
    if known is None:
        faults = find_unusable(paths, fault_of)
    else:
        rows = known.look_up(paths)
        unknown = np.flatnonzero(~known.checked[rows]).tolist()
        found = find_unusable([paths[index] for index in unknown], fault_of)
        faults = {unknown[number]: fault for number, fault in found.items()}
        known.set_checked(np.delete(rows, list(faults)))
    first = [f"{paths[index]} ({fault})" for index, fault in list(faults.items())[:MAX_FAULTS_IN_MESSAGE]]
    more = f" and {len(faults) - MAX_FAULTS_IN_MESSAGE} more" if len(faults) > MAX_FAULTS_IN_MESSAGE else ""
    if faults and bad_images == "error":
        raise DataError(
            f"{len(faults)} of {len(paths)} pictures cannot be used: {', '.join(first)}{more}; "
            "repair or remove them, or give --bad_images skip"
        )
    if faults:
        logger.warning("%d of %d pictures are left out: %s%s", len(faults), len(paths), ", ".join(first), more)
    return [index for index in range(len(paths)) if index not in faults]


def find_conflicting_labels(
    paths: Sequence[Path], labels: Sequence[int], known: KnownFiles | None = None
) -> list[tuple[Path, Path]]:
    """Find pairs of files with the same content but different labels, the earlier file first."""
    pairs = []
    for same in same_content(paths, labels, known):
        first = same[0]
        pairs += [(paths[first], paths[index]) for index in same[1:] if labels[index] != labels[first]]
    return pairs


def same_content(
    paths: Sequence[Path], groups: Sequence[int], known: KnownFiles | None = None
) -> list[list[int]]:  # fmt: skip
    """Find the files with the same content that are in two groups or more, as lists of their indices.

    Files of one size are compared by their ends first, so that few are read whole. A file that cannot be read is the
    same as no other.

    Args:
        paths: the files.
        groups: group of each file, such as its class or its split.
        known: files that are not to be read again unless they have changed.
    """
    known = known or KnownFiles()
    rows = known.look_up(paths)
    sizes = known.size[rows].tolist()
    chosen = _in_several(range(len(paths)), sizes, groups)
    ends = known.ends_digests(rows[chosen], [paths[index] for index in chosen])
    keys = {index: (sizes[index], end) for index, end in zip(chosen, ends, strict=True) if end is not None}
    chosen = _in_several(list(keys), list(keys.values()), groups)
    contents = known.content_digests(rows[chosen], [paths[index] for index in chosen])
    same: dict[bytes, list[int]] = defaultdict(list)
    for index, content in zip(chosen, contents, strict=True):
        if content is not None:
            same[content].append(index)
    return [members for members in same.values() if len({groups[index] for index in members}) > 1]


def _in_several(indices: Sequence[int], keys: Sequence[object], groups: Sequence[int]) -> list[int]:
    """Select the indices of files whose key, one for each index, occurs in two groups or more."""
    first: dict[object, int] = {}  # group of each key
    several = {
        key for index, key in zip(indices, keys, strict=True) if first.setdefault(key, groups[index]) != groups[index]
    }
    return [index for index, key in zip(indices, keys, strict=True) if key in several]


def warn_of_shared(
    train: Listing, held_out: Listing, split: str = "validation", known: KnownFiles | None = None
) -> None:  # fmt: skip
    """Warn of pictures, by content, that are in the training split and in another one.

    Args:
        train, held_out: the splits; pictures in memory are not compared.
        split: name of the other split. With that of validation, a test split that is left is read from its folder.
        known: files that are not to be read again unless they have changed.
    """
    if isinstance(train.pictures, np.ndarray) or isinstance(held_out.pictures, np.ndarray):
        return
    known = known or KnownFiles()
    others = {split: _paths(held_out)}
    if train.left_for_testing and split == "validation":
        others["test"] = nested_pictures(train.left_for_testing)
    own = _paths(train)
    for name, pictures in others.items():
        paths = [*own, *pictures]
        shared = same_content(paths, [0] * len(own) + [1] * len(pictures), known)
        copies = [index for same in shared for index in same if index >= len(own)]
        if copies:
            logger.warning("%d of %d %s pictures are training pictures, too, such as %s and %s", len(copies),
                           len(pictures), name, pictures[copies[0] - len(own)], own[shared[0][0]])  # fmt: skip
    known.save()

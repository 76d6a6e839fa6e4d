"""Check of picture files before a run: unusable files, and files with the same content in two classes."""

import hashlib
import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset import DataError, Listing
from dataset.pictures import open_picture, raise_shortage, reason
from dataset.scan import nested_pictures

logger = logging.getLogger(__name__)

MAX_FAULTS_IN_MESSAGE = 20
THREADS = 8  # more than cores, since the check waits for the disk
JPEG_TAIL_BYTES = 4096  # a complete JPEG file has its end marker within these last bytes
END_BYTES = 4096
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
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
    pool = ThreadPoolExecutor(THREADS)
    try:
        faults = list(
            tqdm(pool.map(fault_of or picture_fault, paths), "check pictures", len(paths), leave=False, delay=2.0)
        )
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, do not wait for a disk that may never answer
    return {index: fault for index, fault in enumerate(faults) if fault is not None}


def check_pictures(listing: Listing, bad_images: str) -> Listing:
    """Check the files of a listing, leave out the unusable ones, and warn of files that are in two classes.

    Args:
        listing: listing of files.
        bad_images: ``error`` to raise if there are unusable files, ``skip`` to leave them out with a warning.

    Raises:
        DataError: there are unusable files, and ``bad_images`` is ``error``.
    """
    usable = usable_pictures([Path(picture) for picture in listing.pictures], bad_images)
    if len(usable) < len(listing.pictures):
        listing = listing.subset(usable)
    pairs = find_conflicting_labels([Path(picture) for picture in listing.pictures], listing.labels)
    if pairs:
        logger.warning("%d pictures are in two classes, such as %s and %s", len(pairs), *pairs[0])
    return listing


def usable_pictures(
    paths: Sequence[Path], bad_images: str, fault_of: Callable[[Path], str | None] | None = None
) -> list[int]:
    """Check picture files by a function, and leave out the unusable ones with one line; returns the others' indices.

    Raises:
        DataError: there are unusable files, and ``bad_images`` is ``error``.
    """
    faults = find_unusable(paths, fault_of)
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


def find_conflicting_labels(paths: Sequence[Path], labels: Sequence[int]) -> list[tuple[Path, Path]]:
    """Find pairs of files with the same content but different labels, the earlier file first."""
    pairs = []
    for same in same_content(paths, labels):
        first = same[0]
        pairs += [(paths[first], paths[index]) for index in same[1:] if labels[index] != labels[first]]
    return pairs


def same_content(paths: Sequence[Path], groups: Sequence[int]) -> list[list[int]]:
    """Find the files with the same content that are in two groups or more, as lists of their indices.

    Files of one size are compared by their ends first, so that few are read whole.
    """
    classes = [list(range(len(paths)))]
    for key in (lambda path: path.stat().st_size, _ends, lambda path: hashlib.sha256(path.read_bytes()).digest()):
        parts: list[list[int]] = []
        for members in classes:
            by_key = defaultdict(list)
            for index in members:
                by_key[key(paths[index])].append(index)
            parts += [same for same in by_key.values() if len({groups[index] for index in same}) > 1]
        classes = parts
    return classes


def _ends(path: Path) -> bytes:
    """First and last bytes of a file."""
    with path.open("rb") as file:
        start = file.read(END_BYTES)
        file.seek(max(0, path.stat().st_size - END_BYTES))
        return start + file.read()


def warn_of_shared(train: Listing, held_out: Listing, split: str = "validation") -> None:
    """Warn of pictures, by content, that are in the training split and in another one.

    Args:
        train, held_out: the splits; pictures in memory are not compared.
        split: name of the other split. With that of validation, a test split that is left is read from its folder.
    """
    if isinstance(train.pictures, np.ndarray) or isinstance(held_out.pictures, np.ndarray):
        return
    others = {split: list(held_out.pictures)}
    if train.left_for_testing and split == "validation":
        others["test"] = nested_pictures(train.left_for_testing)
    own = list(train.pictures)
    for name, pictures in others.items():
        shared = same_content([*own, *pictures], [0] * len(own) + [1] * len(pictures))
        copies = [index for same in shared for index in same if index >= len(own)]
        if copies:
            logger.warning("%d of %d %s pictures are training pictures, too, such as %s and %s", len(copies),
                           len(pictures), name, pictures[copies[0] - len(own)], own[shared[0][0]])  # fmt: skip

"""Check of picture files before a run: unusable files, and files with the same content in two classes."""

import hashlib
import logging
import warnings
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from dataset import DataError, Listing
from dataset.pictures import UNREADABLE, open_picture, reason

logger = logging.getLogger(__name__)

MAX_FAULTS_IN_MESSAGE = 20
THREADS = 8  # more than cores, since the check waits for the disk
JPEG_TAIL_BYTES = 4096  # a complete JPEG file has its end marker within these last bytes
END_OF_JPEG = b"\xff\xd9"


def picture_fault(path: Path) -> str | None:
    """Reason why a picture file cannot be used, None if it can.

    Verifies the header, and the checksums of a PNG; a JPEG without an end marker near its end is decoded.
    """
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                file_format = picture.format
                picture.verify()
        if file_format in ("JPEG", "MPO"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - JPEG_TAIL_BYTES))
                complete = END_OF_JPEG in file.read()
            if not complete:
                open_picture(path, 3)
        elif file_format not in ("PNG", "GIF"):
            open_picture(path, 3)  # there is no cheap check for other formats
    except DataError as error:
        return str(error).partition("cannot be read: ")[2]
    except UNREADABLE as error:
        return reason(error)
    return None


def find_unusable(paths: Sequence[Path]) -> dict[int, str]:
    """Index and fault of each picture file that cannot be used."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        faults = list(tqdm(pool.map(picture_fault, paths), "check pictures", len(paths), leave=False, delay=2.0))
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
    paths = [Path(picture) for picture in listing.pictures]
    faults = find_unusable(paths)
    first = [f"{paths[index]} ({fault})" for index, fault in list(faults.items())[:MAX_FAULTS_IN_MESSAGE]]
    more = f" and {len(faults) - MAX_FAULTS_IN_MESSAGE} more" if len(faults) > MAX_FAULTS_IN_MESSAGE else ""
    if faults and bad_images == "error":
        raise DataError(
            f"{len(faults)} of {len(paths)} pictures cannot be used: {', '.join(first)}{more}; "
            "repair or remove them, or give --bad_images skip"
        )
    if faults:
        logger.warning("%d of %d pictures are left out: %s%s", len(faults), len(paths), ", ".join(first), more)
        listing = listing.subset([index for index in range(len(paths)) if index not in faults])
    pairs = find_conflicting_labels([Path(picture) for picture in listing.pictures], listing.labels)
    if pairs:
        logger.warning("%d pictures are in two classes, such as %s and %s", len(pairs), *pairs[0])
    return listing


def find_conflicting_labels(paths: Sequence[Path], labels: Sequence[int]) -> list[tuple[Path, Path]]:
    """Find pairs of files with the same content but different labels, the earlier file first."""
    by_size = defaultdict(list)
    for index, path in enumerate(paths):
        by_size[path.stat().st_size].append(index)
    by_content: dict[bytes, int] = {}
    pairs = []
    for indices in by_size.values():
        for index in indices if len({labels[i] for i in indices}) > 1 else ():
            first = by_content.setdefault(hashlib.sha256(paths[index].read_bytes()).digest(), index)
            if labels[first] != labels[index]:
                pairs.append((paths[first], paths[index]))
    return pairs

"""Pictures as they come: which of a listing cannot be used, and which lie in two classes."""

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

LISTED = 20  # faults named in one message
THREADS = 8  # the check waits for the disk, not for the processor
TAIL = 4096  # bytes in which a whole JPEG file ends its data
END_OF_JPEG = b"\xff\xd9"


def why_unusable(path: Path) -> str | None:
    """What is wrong with a picture file, None if nothing is.

    Reads the header, and the checksums of a PNG; a JPEG that does not end as one should is decoded to be sure.
    """
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                form = picture.format
                picture.verify()
        if form in ("JPEG", "MPO"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL))
                whole = END_OF_JPEG in file.read()
            if not whole:
                open_picture(path, 3)
        elif form not in ("PNG", "GIF"):
            open_picture(path, 3)  # formats without a cheap check
    except DataError as error:
        return str(error).partition("cannot be read: ")[2]
    except UNREADABLE as error:
        return reason(error)
    return None


def find_unusable(paths: Sequence[Path]) -> dict[int, str]:
    """Index and fault of each file that cannot be used."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        faults = list(tqdm(pool.map(why_unusable, paths), "check pictures", len(paths), leave=False, delay=2.0))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C one may wait for its disk for ever
    return {index: fault for index, fault in enumerate(faults) if fault is not None}


def usable(listing: Listing, bad_images: str) -> Listing:
    """The listing without the pictures that cannot be used.

    Args:
        listing: of files.
        bad_images: ``error`` or ``skip``.

    Raises:
        DataError: some cannot be used and ``bad_images`` is ``error``, or none can.
    """
    paths = [Path(picture) for picture in listing.pictures]
    faults = find_unusable(paths)
    first = [f"{paths[index]} ({fault})" for index, fault in list(faults.items())[:LISTED]]
    more = f" and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
    if faults and bad_images == "error":
        raise DataError(
            f"{len(faults)} of {len(paths)} pictures cannot be used: {', '.join(first)}{more}; "
            "mend or remove them, or give --bad_images skip"
        )
    if faults:
        logger.warning("%d of %d pictures are left out: %s%s", len(faults), len(paths), ", ".join(first), more)
        listing = listing.subset([index for index in range(len(paths)) if index not in faults])
    pairs = find_in_two_classes([Path(picture) for picture in listing.pictures], listing.labels)
    if pairs:
        logger.warning("%d pictures are in two classes, such as %s and %s", len(pairs), *pairs[0])
    return listing


def find_in_two_classes(paths: Sequence[Path], labels: Sequence[int]) -> list[tuple[Path, Path]]:
    """Pairs of files with the same content and different labels, the first pair of each content."""
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

"""Reader of CUB-200-2011 (Wah et al. 2011) in its original layout of text files."""

import logging
import math
import re
from collections.abc import Container, Iterable
from pathlib import Path

from dataset import DataError, Listing
from dataset.boxes import Box
from dataset.classes import distinct_names
from dataset.tables import NumberedTable, read_text, whole_number

logger = logging.getLogger(__name__)


def _read_table(path: Path) -> NumberedTable:
    """Read a file of lines ``<id> <value>``."""
    try:
        return NumberedTable(path)
    except OSError as error:
        raise DataError(f"CUB-200 is not in {path.parent}: {path.name} cannot be read; check --dataset_dir") from error


def list_cub200(root: Path, split: str) -> Listing:
    """List a split of CUB-200 by its ``train_test_split.txt``; labels are positions in ``classes.txt``.

    A picture whose line in ``bounding_boxes.txt`` is missing or broken has the reason in place of its box.

    Args:
        root: the folder with ``images.txt``.
        split: ``train`` or ``val``.

    Raises:
        DataError: a text file is missing or damaged, or a picture has a class that is not in ``classes.txt``.
    """
    names = _read_table(root / "classes.txt")
    files = _read_table(root / "images.txt")
    labels = _read_table(root / "image_class_labels.txt")
    parts = _read_table(root / "train_test_split.txt")
    for key, value in parts.items():
        if value not in ("0", "1"):
            raise DataError(f"{parts.at(key)}: {value!r} is neither 1, training, nor 0: correct it")
    chosen = [key for key, value in parts.items() if value == ("1" if split == "train" else "0")]
    boxes, ids = _read_boxes(root / "bounding_boxes.txt"), sorted(names)
    no_line = f"{root / 'bounding_boxes.txt'} has no line for it"
    label_of = {own: label for label, own in enumerate(ids)}
    _check_complete(root / "train_test_split.txt", parts, files, "picture")
    for name, table in (("images.txt", files), ("image_class_labels.txt", labels)):
        _check_complete(root / name, table, chosen, "picture")
    for key in chosen:
        if whole_number(labels[key]) not in names:
            raise DataError(
                f"{labels.at(key)}: class {labels[key][:60]} is not in {root / 'classes.txt'}: correct one of them"
            )
    return Listing(
        [root / "images" / files[key] for key in chosen],
        [label_of[int(labels[key])] for key in chosen],
        distinct_names([_name(names[key]) for key in ids], ids),
        [boxes.get(key, no_line) for key in chosen] if boxes else None,
        class_ids=[str(key) for key in ids],
    )


def _name(text: str) -> str:
    """Name of a class, ``Black footed Albatross`` of ``001.Black_footed_Albatross``."""
    number, dot, name = text.strip().partition(".")
    return (name if dot and number.isdigit() else text.strip()).replace("_", " ")


def _check_complete(path: Path, table: Container[int], keys: Iterable[int], what: str) -> None:
    """Raise DataError unless a table has a line for each number."""
    missing = [key for key in keys if key not in table]
    if missing:
        raise DataError(f"{path} has no line for {what} {missing[0]}: extract the archive again")


def _read_boxes(path: Path) -> dict[int, Box | str]:
    """Read lines ``<id> <left> <top> <width> <height>`` as the box of each picture, or what is wrong with its line."""
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        logger.warning("%s cannot be read (%s): there are no boxes", path, error.strerror, extra={"once": True})
        return {}
    boxes: dict[int, Box | str] = {}
    for number, line in enumerate(lines, 1):
        key, *values = re.split(r"[\s,;\"]+", line.strip().strip(';,"')) or [""]
        if (picture := whole_number(key)) is None:  # whichever picture it is of has no line
            continue
        box = _box(values) or f"line {number} of {path} does not give four numbers of a box: {line.strip()[:60]!r}"
        if boxes.setdefault(picture, box) != box:
            boxes[picture] = f"line {number} of {path} contradicts an earlier line of the same picture"
    return boxes


def _box(values: list[str]) -> Box | None:
    """Corners of a box of left, top, width and height; None if these are not four numbers, or it has no area."""
    try:
        left, top, width, height = map(float, values)
    except ValueError:
        return None
    sound = math.isfinite(left + top + width + height) and min(width, height) > 0
    return (left, top, left + width, top + height) if sound else None

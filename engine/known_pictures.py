"""Record of the picture files of a dataset that have been checked, kept from one start of a script to the next."""

import os
from pathlib import Path
from typing import Any

import PIL
from numpy.typing import NDArray

from dataset.known_files import KnownFiles
from tools.array_record import ArrayRecord

FEWEST_FILES = 1000  # that are worth a record; fewer are checked within a second
FORM = 1  # of the record; a change of the check or of the arrays needs another number


def known_pictures(dataset_dir: str | None) -> KnownFiles:
    """Files of the folder of a dataset that an earlier start has checked; it stores what this one finds.

    Args:
        dataset_dir: the folder; None for data without files.
    """
    if dataset_dir is None:
        return KnownFiles()
    record = ArrayRecord("pictures", os.path.realpath(dataset_dir), version=f"{FORM} Pillow {PIL.__version__}")

    def store(arrays: dict[str, NDArray[Any]]) -> None:
        if len(arrays["size"]) >= FEWEST_FILES:
            record.save(arrays)

    try:
        return KnownFiles(Path(dataset_dir), record.load(), store)
    except (ValueError, KeyError) as error:
        record.ignore(error)
        return KnownFiles(Path(dataset_dir), store=store)

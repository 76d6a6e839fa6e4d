"""Records of arrays in the cache folder of the user, which spare later starts work; none is ever needed."""

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools import ToolError
from tools.files import atomic_file, writable_folder

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "SCOUTER_CACHE"
DAMAGED = (ValueError, OSError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError,
           SyntaxError, MemoryError, OverflowError, TypeError)  # fmt: skip


def cache_folder() -> Path | None:
    """Folder of the records: ``SCOUTER_CACHE``, or ``scouter`` in the user's cache; None if the first is empty."""
    if FOLDER_VARIABLE in os.environ:
        given = os.environ[FOLDER_VARIABLE]
        return Path(given) if given else None
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scouter"
    except RuntimeError:  # the user has no home
        return None


class ArrayRecord:
    """Record of named arrays of one subject.

    Args:
        kind: what the record is of; the first part of the file's name.
        subject: what it is about, such as a folder.
        version: of the program or a library; a record of another one is ignored.
    """

    def __init__(self, kind: str, subject: str, *, version: str) -> None:
        self.kind = kind
        self.header = f"{kind}\0{version}\0{subject}".encode(errors="surrogateescape")
        folder, digest = cache_folder(), hashlib.sha256(subject.encode(errors="surrogateescape")).hexdigest()
        self.path = folder / f"{kind}-{digest[:24]}.npz" if folder else None

    def load(self) -> dict[str, NDArray[Any]] | None:
        """Arrays of the record; None without one, or with a note if it is damaged or not of this subject and version.

        zip files have a checksum of each array, and arrays of Python objects, which could run code, are not read.
        """
        if self.path is None:
            return None
        try:
            with np.load(self.path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            if arrays.pop("header").tobytes() != self.header:
                raise ValueError("of another version or folder")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except DAMAGED as error:
            self.ignore(error)
            return None
        return arrays

    def ignore(self, error: BaseException) -> None:
        """Say that the record cannot be used."""
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        logger.warning("%s is ignored and made anew (%s)", self.path, reason)

    def save(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the record completely or not at all; a note says if it cannot be written. The last of two runs wins."""
        if self.path is None:
            return
        try:
            writable_folder(self.path.parent)
            with atomic_file(self.path, durable=False) as file:
                np.savez(file, header=np.frombuffer(self.header, np.uint8), **arrays)  # type: ignore[arg-type]
        except ToolError as error:
            logger.warning("%s: the next start does the same work again; %s names another folder", error,
                           FOLDER_VARIABLE)  # fmt: skip

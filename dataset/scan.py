"""Listing of picture files in folders as people have them, with a count of the entries that are left out."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import EpsImagePlugin, Image, ImageFile, features

from dataset import DataError

logger = logging.getLogger(__name__)

# Formats that Pillow opens only if it was built with a library.
LIBRARIES = {"AVIF": "avif", "JPEG": "jpg", "JPEG2000": "jpg_2000", "PNG": "zlib", "WEBP": "webp"}
# Folders of systems and archives, in lower case; those that begin with a dot are left out without a count.
SYSTEM_FOLDERS = frozenset(
    ("__macosx", "@eadir", "__pycache__", ".ipynb_checkpoints", "lost+found", "$recycle.bin", "#recycle", "@recycle",
     "#snapshot", "system volume information")
)  # fmt: skip
QUIET_FILES = frozenset(("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"))
TEXT_SUFFIXES = frozenset((".txt", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".md", ".rst", ""))
# Files about the pictures rather than lost pictures; in a folder of classes, any text file is one.
ABOUT = re.compile(r"(class|categor|label|readme|licen[cs]e|names|index|list|annotation|metadata|checksum)", re.I)
# What is left out: in the singular and in the plural.
NOT_PICTURES = ("file that is not a picture", "files that are not pictures")
OUTSIDE = ("picture outside of the class folders", "pictures outside of the class folders")
EMPTY = ("folder without pictures", "folders without pictures")
SYSTEM = ("folder of the system", "folders of the system")


@cache
def picture_suffixes() -> frozenset[str]:
    """Suffixes, in lower case, of all formats that the installed Pillow can decode."""
    Image.init()
    found = set()
    for suffix, name in Image.registered_extensions().items():
        # A stub is only recognised; MPEG, too. MPO, several JPEGs in one file, is opened as JPEG.
        opener = Image.OPEN.get("JPEG" if name == "MPO" else name, (None,))[0]
        stub = isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)
        lacking = name in LIBRARIES and not features.check(LIBRARIES[name])
        lacking |= name == "EPS" and not EpsImagePlugin.has_ghostscript()
        if opener is not None and not stub and not lacking and name != "MPEG":
            found.add(suffix.lower())
    return frozenset(found)


class Skipped:
    """Entries of a folder that are left out, counted by kind, with the first of each as an example."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.counts: Counter[tuple[str, str]] = Counter()
        self.examples: dict[tuple[str, str], Path] = {}

    def add(self, kind: tuple[str, str], path: Path) -> None:
        """Count an entry."""
        self.counts[kind] += 1
        self.examples[kind] = min(path, self.examples.get(kind, path))  # the order of a disk is arbitrary

    def add_file(self, path: Path, *, any_text: bool = False) -> None:
        """Count a file that is no picture, unless it is a file of the system or, by its name, about the pictures."""
        text = path.suffix.lower() in TEXT_SUFFIXES and (any_text or ABOUT.match(path.name))
        if not (path.name.startswith(".") or path.name.lower() in QUIET_FILES or text):
            self.add(NOT_PICTURES, path)

    def report(self) -> None:
        """Log one line if anything was left out."""
        parts = [f"{count} {kind[count > 1]}, such as {self.examples[kind]}" for kind, count in self.counts.items()]
        if parts:
            logger.warning("left out of %s: %s", self.root, "; ".join(parts), extra={"once": True})


def is_picture(path: Path) -> bool:
    """Whether a file has the suffix of a picture and is not hidden."""
    return path.suffix.lower() in picture_suffixes() and not path.name.startswith(".")


def entries(folder: Path, skipped: Skipped | None = None) -> tuple[list[Path], list[Path]]:
    """List the folders and the files in a folder, without hidden folders and folders of the system."""
    folders, files = [], []
    for path in folder.iterdir():
        if not path.is_dir():
            files.append(path)
        elif path.name.lower() in SYSTEM_FOLDERS:
            if skipped:
                skipped.add(SYSTEM, path)
        elif not path.name.startswith("."):
            folders.append(path)
    return sorted(folders), files


def _walk(folder: Path, skipped: Skipped | None) -> Iterator[Path]:
    """Yield the pictures in a folder and in the folders below it."""
    seen: set[Path] = set()  # a link may lead to a folder above it
    for at, names, files in os.walk(folder, followlinks=True, onerror=_raise):
        place = Path(at)
        real = place.resolve()
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        for name in [name for name in names if name.startswith(".") or name.lower() in SYSTEM_FOLDERS]:
            names.remove(name)
            if skipped and name.lower() in SYSTEM_FOLDERS:
                skipped.add(SYSTEM, place / name)
        for name in files:
            if is_picture(path := place / name):
                yield path
            elif skipped:
                skipped.add_file(path)


def _raise(error: OSError) -> None:
    raise DataError(f"the folder {error.filename} cannot be read: {error.strerror}; change its permissions") from error


def nested_pictures(folder: Path, skipped: Skipped | None = None) -> list[Path]:
    """List the picture files in a folder and in the folders below it, sorted; links are followed.

    Raises:
        DataError: a folder cannot be read.
    """
    return sorted(_walk(folder, skipped))


def has_pictures(folder: Path) -> bool:
    """Whether there is a picture in a folder or below it."""
    return next(_walk(folder, None), None) is not None


def picture_files(folder: Path, skipped: Skipped | None = None) -> list[Path]:
    """List the picture files in a folder itself, by their suffix, sorted, without hidden files."""
    files = entries(folder)[1]
    for file in files if skipped else ():
        if skipped and not is_picture(file):
            skipped.add_file(file, any_text=True)
    return sorted(file for file in files if is_picture(file))

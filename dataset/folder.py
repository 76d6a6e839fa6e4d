"""Reader of a user's own pictures, one folder per class, and listing of the picture files of a folder."""

import itertools
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset import DataError, Listing

SPLIT_SEED = 0  # independent of --seed, so that repeats of a run share their split
MAX_TITLE_BYTES = 200  # file systems allow 255 in a name
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def picture_files(folder: Path) -> list[Path]:
    """List the picture files of a folder by their suffix, sorted, without dot files."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def titled_pictures(files: Sequence[str]) -> dict[str, Path]:
    """Give each picture file a unique title, its stem with a number where needed; a folder means all its picture files.

    Raises:
        DataError: there are no pictures in the folders.
    """
    paths = [found for file in files for found in (picture_files(Path(file)) if Path(file).is_dir() else [Path(file)])]
    if not paths:
        raise DataError(f"--image {files[0]}: there are no pictures in this folder; give another")
    titles: dict[str, Path] = {}
    taken = {"overview.png", "images"}  # the program's own names beside the folders of the pictures
    for path in paths:
        title = _title(path)
        numbered = (f"{title}_{number}" for number in itertools.count(2))
        title = next(free for free in itertools.chain([title], numbered) if _folded(free) not in taken)
        titles[title] = path
        taken.add(_folded(title))
    return titles


def _title(path: Path) -> str:
    """Stem of a file as the name of a folder: printable, not made of dots alone, not too long for file systems."""
    stem = path.name.rpartition(".")[0] or path.name
    name = "".join(c if c.isprintable() else "_" for c in stem).rstrip(". ") or "picture"
    return name.encode()[:MAX_TITLE_BYTES].decode(errors="ignore")


def _folded(name: str) -> str:
    """Form of a name in which two names are equal that are the same file on some file system."""
    return unicodedata.normalize("NFC", name).casefold()


def class_folders(folder: Path) -> list[Path]:
    """List the folders in a folder, sorted, without dot folders.

    Raises:
        DataError: the folder is missing, or has no folders in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: check --dataset_dir")
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise DataError(f"there are no class folders in {folder}: check --dataset_dir")
    return folders


def list_class_folders(folders: list[Path], class_names: list[str]) -> Listing:
    """List the pictures of class folders, in the given order; a missing folder is an empty class.

    Raises:
        DataError: there are no pictures in any of them.
    """
    pictures, labels = [], []
    for label, folder in enumerate(folders):
        files = picture_files(folder) if folder.is_dir() else []
        pictures += files
        labels += [label] * len(files)
    if not pictures:
        raise DataError(f"there are no pictures in {folders[0].parent}: check --dataset_dir")
    return Listing(pictures, labels, class_names)


def list_folder(root: Path, split: str, *, val_ratio: float = 0.2) -> Listing:
    """List a split of a user's own pictures: class folders in ``train/`` and ``val/`` (or ``test/``), or not split yet.

    Class folders that are not split yet are split at random with a fixed seed: a share ``val_ratio`` of each class is
    for validation, at least one picture, but never the only one.

    Args:
        root: folder with ``train/`` and ``val/``, or with the class folders; for ``val``, ``val/`` alone is enough.
        split: ``train`` or ``val``.
        val_ratio: share of each class for validation, if the folders are not split yet.

    Raises:
        DataError: folders or pictures are missing, or ``val/`` has classes that ``train/`` does not have.
    """
    held_out = next((root / name for name in ("val", "test") if (root / name).is_dir()), root / "val")
    if not (root / "train").is_dir():
        if split == "val" and held_out.is_dir() and any(path.is_dir() for path in held_out.iterdir()):
            folders = class_folders(held_out)  # a test set for a trained model
            return list_class_folders(folders, [f.name for f in folders])
        folders = class_folders(root)
        return _stratified_split(list_class_folders(folders, [f.name for f in folders]), split, val_ratio)
    names = [folder.name for folder in class_folders(root / "train")]
    if split == "train":
        folder = root / "train"
    else:
        folder = held_out
        extra = [found.name for found in class_folders(folder) if found.name not in names]
        if extra:
            raise DataError(
                f"{folder} has classes that are not in {root / 'train'}: {', '.join(extra[:5])}; remove or rename them"
            )
    return list_class_folders([folder / name for name in names], names)


def _stratified_split(listing: Listing, split: str, val_ratio: float) -> Listing:
    labels, chosen = np.array(listing.labels), []
    for label in range(len(listing.class_names)):
        members = np.flatnonzero(labels == label)
        # One generator per class, so that new pictures of a class do not change the split of the others.
        order = np.random.default_rng([SPLIT_SEED, label]).permutation(members)
        count = min(max(1, round(val_ratio * len(members))), len(members) - 1) if len(members) else 0
        chosen += sorted(order[:count] if split == "val" else order[count:])
    return listing.subset([int(i) for i in chosen])

"""Pictures in folders, one folder a class."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset import DataError, Listing

SPLIT_SEED = 0  # not --seed: repeats of a run share their split
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def picture_files(folder: Path) -> list[Path]:
    """The picture files of a folder by their suffix, sorted, dot files left out."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def titled_pictures(files: Sequence[str]) -> dict[str, Path]:
    """Picture files, those of folders among them, by a name that each has for itself.

    Raises:
        DataError: a folder without pictures.
    """
    paths = [found for file in files for found in (picture_files(Path(file)) if Path(file).is_dir() else [Path(file)])]
    if not paths:
        raise DataError(f"--image {files[0]}: there are no pictures in this folder")
    titles: dict[str, Path] = {}
    for path in paths:
        numbered = (f"{path.stem}_{number}" for number in itertools.count(2))
        titles[next(title for title in itertools.chain([path.stem], numbered) if title not in titles)] = path
    return titles


def class_folders(folder: Path) -> list[Path]:
    """The sorted folders in a folder, dot folders left out.

    Raises:
        DataError: there is no such folder, or no folder in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: check --dataset_dir")
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise DataError(f"there are no class folders in {folder}: check --dataset_dir")
    return folders


def list_class_folders(folders: list[Path], class_names: list[str]) -> Listing:
    """The pictures of folders, one class each, in the order given."""
    pictures, labels = [], []
    for label, folder in enumerate(folders):
        files = picture_files(folder) if folder.is_dir() else []
        pictures += files
        labels += [label] * len(files)
    if not pictures:
        raise DataError(f"there are no pictures in {folders[0].parent}: check --dataset_dir")
    return Listing(pictures, labels, class_names)


def list_folder(root: Path, split: str, *, val_ratio: float = 0.2) -> Listing:
    """A user's own pictures: ``train/`` and ``val/`` (or ``test/``) of class folders, or class folders alone.

    Class folders alone are split at random, the same way each time: of each class a share of ``val_ratio``
    validates, at least one picture and never the only one.
    """
    if not (root / "train").is_dir():
        folders = class_folders(root)
        return _stratified_split(list_class_folders(folders, [f.name for f in folders]), split, val_ratio)
    names = [folder.name for folder in class_folders(root / "train")]
    if split == "train":
        place = root / "train"
    else:
        place = next((root / name for name in ("val", "test") if (root / name).is_dir()), root / "val")
        extra = [folder.name for folder in class_folders(place) if folder.name not in names]
        if extra:
            raise DataError(f"{place} has classes that {root / 'train'} has not: {', '.join(extra[:5])}")
    return list_class_folders([place / name for name in names], names)


def _stratified_split(listing: Listing, split: str, val_ratio: float) -> Listing:
    labels, chosen = np.array(listing.labels), []
    for label in range(len(listing.class_names)):
        members = np.flatnonzero(labels == label)
        # Each class has a generator of its own: another class that grows does not move this one's pictures.
        order = np.random.default_rng([SPLIT_SEED, label]).permutation(members)
        count = min(max(1, round(val_ratio * len(members))), len(members) - 1) if len(members) else 0
        chosen += sorted(order[:count] if split == "val" else order[count:])
    return listing.subset([int(i) for i in chosen])

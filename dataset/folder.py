"""Reader of a user's own pictures, one folder per class, and titles of the picture files of a user."""

import itertools
import logging
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dataset import DataError, Listing
from dataset.scan import EMPTY, OUTSIDE, Skipped, entries, has_pictures, is_picture, nested_pictures, picture_files
from dataset.splits import role_of, split_folders

logger = logging.getLogger(__name__)

SPLIT_SEED = 0  # independent of --seed, so that repeats of a run share their split
MAX_TITLE_BYTES = 200  # file systems allow 255 in a name
WNID = re.compile(r"n\d{8}")


def titled_pictures(files: Sequence[str], *, flag: str = "--image") -> dict[str, Path]:
    """Give each picture file a unique title, its stem with a number where needed; a folder means all its picture files.

    A folder without pictures of its own stands for those in the folders below it. ``flag`` is named in the message.

    Raises:
        DataError: there are no pictures in the folders.
    """
    paths: list[Path] = []
    for path in map(Path, files):
        paths += (picture_files(path) or nested_pictures(path)) if path.is_dir() else [path]
    if not paths:
        raise DataError(f"{flag} {files[0]}: there are no pictures in this folder; give another")
    titles: dict[str, Path] = {}
    taken = {"overview.png", "overview.jpg", "images"}  # the program's own names beside the folders of the pictures
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


def class_folders(folder: Path, skipped: Skipped | None = None) -> list[Path]:
    """List the folders in a folder that are classes, sorted.

    Hidden folders, folders of the system and folders without pictures are none; an empty ``n01440764`` is, since its
    name is the id of an ImageNet class. If there are no pictures at all, all folders are classes.

    Args:
        folder: the folder.
        skipped: counts what is left out; None to count nothing.

    Raises:
        DataError: the folder is missing, or has no folders in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: check --dataset_dir")
    folders, files = entries(folder, skipped)
    if not folders:
        raise DataError(f"there are no class folders in {folder}: check --dataset_dir")
    classes = [f for f in folders if WNID.fullmatch(f.name) or has_pictures(f)] or folders
    if skipped:
        for path in sorted(set(folders) - set(classes)):
            skipped.add(EMPTY, path)
        for file in files:
            if is_picture(file):
                skipped.add(OUTSIDE, file)
            else:
                skipped.add_file(file, any_text=True)
    return classes


def list_class_folders(folders: list[Path], class_names: list[str], skipped: Skipped | None = None) -> Listing:
    """List the pictures of class folders, in the given order; a missing folder is an empty class.

    Pictures may be in folders below the class folder. A line is logged about files that are left out.

    Raises:
        DataError: there are no pictures in any of them.
    """
    pictures, labels = [], []
    skipped = skipped or Skipped(folders[0].parent)
    for label, folder in enumerate(folders):
        files = nested_pictures(folder, skipped) if folder.is_dir() else []
        pictures += files
        labels += [label] * len(files)
    if not pictures:
        raise DataError(f"there are no pictures in {folders[0].parent}: check --dataset_dir")
    skipped.report()
    return Listing(pictures, labels, class_names)


def _unpacked(root: Path) -> Path:
    """Folder that holds the classes or splits, if archives have put it into folders of its own below ``root``."""
    while True:
        folders = [folder for folder in entries(root)[0] if has_pictures(folder)]
        if len(folders) != 1 or role_of(folders[0]) or picture_files(folders[0]):
            return root
        root = folders[0]


def list_folder(root: Path, split: str, *, val_ratio: float = 0.2, val_from_train: bool = False) -> Listing:
    """List a split of a user's own pictures: class folders in folders of the splits, or not split yet.

    The folders of the splits are found by :func:`dataset.splits.split_folders`. Validation is ``val/``, else ``test/``.
    Class folders that are not split yet, or ``train/`` without a folder that validates, are split at random with a
    fixed seed: a share ``val_ratio`` of each class is for validation, at least one picture, but never the only one.

    Args:
        root: folder with ``train/`` and ``val/``, or with the class folders; or a folder with nothing but that folder.
            For ``val`` and ``test``, the folder of that split alone is enough: a test set for a trained model.
        split: ``train``, ``val``, ``test``, or ``all`` for what is not split yet, or else the whole of ``train/``.
        val_ratio: share of each class for validation, if no folder validates.
        val_from_train: without ``val/``, a share of ``train/`` validates although there is ``test/``.

    Raises:
        DataError: folders or pictures are missing, or ``val/`` has classes that ``train/`` does not have.
    """
    root = _unpacked(root)
    splits = split_folders(root)
    if split == "test" and "test" not in splits:
        flat = [folder for folder in entries(root)[0] if role_of(folder) == "test" and has_pictures(folder)]
        if splits and flat:
            raise DataError(f"--split test: there are no class folders in {flat[0]}: put its pictures into some")
        known = ", ".join(folder.name for folder in splits.values()) or "no folders of splits"
        raise DataError(f"--split test: {root} has no folder test/ but {known}; leave the flag out")
    if splits and "train" not in splits:
        return _list_test_set(root, splits, "train" if split == "all" else split)
    train = splits.get("train", root)
    skipped = Skipped(train)
    folders = class_folders(train, skipped)
    names = [folder.name for folder in folders]
    held_out = splits.get("val") or (None if val_from_train else splits.get("test"))
    left = splits.get("test") if held_out != splits.get("test") else None
    if split == "all":
        return replace(list_class_folders(folders, names, skipped), source=str(train),
                       left_for_testing=splits.get("test"), drawn_from=None if held_out else train)  # fmt: skip
    if held_out is None and split != "test":
        listing = _stratified_split(list_class_folders(folders, names, skipped), split, val_ratio)
        share = val_ratio if split == "val" else 1 - val_ratio
        return replace(listing, source=f"{share:.0%} of each class in {train}", left_for_testing=left, drawn_from=train)
    if val_from_train and "val" in splits and split != "test":
        logger.warning("--val_ratio is not used: %s validates", splits["val"], extra={"once": True})
    if split == "train":
        return replace(list_class_folders(folders, names, skipped), source=str(train), left_for_testing=left)
    folder = splits["test"] if split == "test" else splits.get("val") or splits["test"]
    skipped = Skipped(folder)
    extra = [found.name for found in class_folders(folder, skipped) if found.name not in names]
    if extra:
        raise DataError(f"{folder} has classes that are not in {train}: {', '.join(extra[:5])}; remove or rename them")
    return replace(list_class_folders([folder / name for name in names], names, skipped), source=str(folder))


def _list_test_set(root: Path, splits: dict[str, Path], split: str) -> Listing:
    """List pictures without ``train/``, a test set for a trained model, which knows the classes."""
    if split == "train":
        has = next(iter(splits.values())).name
        raise DataError(
            f"{root} has {has}/ but no train/ with class folders, which name the classes: check --dataset_dir"
        )
    folder = splits.get(split) or splits["test"]
    skipped = Skipped(folder)
    folders = class_folders(folder, skipped)
    return replace(list_class_folders(folders, [f.name for f in folders], skipped), source=str(folder))


def _stratified_split(listing: Listing, split: str, val_ratio: float) -> Listing:
    labels, chosen = np.array(listing.labels), []
    for label in range(len(listing.class_names)):
        members = np.flatnonzero(labels == label)
        # One generator per class, so that new pictures of a class do not change the split of the others.
        order = np.random.default_rng([SPLIT_SEED, label]).permutation(members)
        count = min(max(1, round(val_ratio * len(members))), len(members) - 1) if len(members) else 0
        chosen += sorted(order[:count] if split == "val" else order[count:])
    return listing.subset([int(i) for i in chosen])

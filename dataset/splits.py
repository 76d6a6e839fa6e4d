"""Folders of the splits of a user's own pictures, under the names that people give them."""

from pathlib import Path

from dataset import DataError
from dataset.scan import entries, has_pictures

# Names of a split's folder, in lower case.
SPLIT_NAMES = {
    "train": ("train", "training", "train_set"),
    "val": ("val", "valid", "validation", "val_set", "dev"),
    "test": ("test", "testing", "test_set"),
}


def role_of(folder: Path) -> str | None:
    """Split that a folder holds by its name: ``train``, ``val`` or ``test``; None for another name."""
    return next((role for role, names in SPLIT_NAMES.items() if folder.name.lower() in names), None)


def split_folders(root: Path) -> dict[str, Path]:
    """Find the folders of the splits in a folder, by role; empty if the folder is not split.

    A folder with such a name that has no class folders is a class of that name, unless there are no other classes.
    Folders of other splits than training are enough, if nothing else is there.

    Raises:
        DataError: two folders for one split.
    """
    folders = [folder for folder in entries(root)[0] if has_pictures(folder)]
    found: dict[str, list[Path]] = {}
    for folder in folders:
        role = role_of(folder)
        if role and any(has_pictures(below) for below in entries(folder)[0]):
            found.setdefault(role, []).append(folder)
    others = [folder for folder in folders if not role_of(folder)]
    if not found and not others and (flat := [f for f in entries(root)[0] if role_of(f) == "train"]):
        return {"train": flat[0]}  # without class folders, which is an error of its own
    for same in found.values():
        if len(same) > 1:
            raise DataError(f"{same[0]} and {same[1]} are folders of the same split: rename or remove one")
    if found and "train" not in found and others:
        return {}
    return {role: same[0] for role, same in found.items()}

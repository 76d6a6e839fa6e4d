"""Class folders: ``train/`` and ``val/`` (or ``test/``), each with one folder of pictures a class."""

from pathlib import Path

from dataset import DataError, Listing

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def picture_files(folder: Path) -> list[Path]:
    """The picture files of a folder by their suffix, sorted, dot files left out."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


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
        files = picture_files(folder)
        pictures += files
        labels += [label] * len(files)
    if not pictures:
        raise DataError(f"there are no pictures in {folders[0].parent}: check --dataset_dir")
    return Listing(pictures, labels, class_names)


def list_folder(root: Path, split: str) -> Listing:
    """A user's own pictures; the classes are the folders of ``train/``."""
    names = [folder.name for folder in class_folders(root / "train")]
    if split == "train":
        place = root / "train"
    else:
        place = next((root / name for name in ("val", "test") if (root / name).is_dir()), root / "val")
        extra = [folder.name for folder in class_folders(place) if folder.name not in names]
        if extra:
            raise DataError(f"{place} has classes that {root / 'train'} has not: {', '.join(extra[:5])}")
    return list_class_folders([place / name for name in names if (place / name).is_dir()], names)

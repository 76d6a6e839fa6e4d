"""ImageNet (ILSVRC 2012): ``train/<wnid>/``, and ``val/<wnid>/`` or the flat ``val/`` that is downloaded."""

import csv
from dataclasses import replace
from pathlib import Path

from timm.data import ImageNetInfo

from dataset import DataError, Listing
from dataset.folder import class_folders, list_class_folders, picture_files

SOLUTION = "LOC_val_solution.csv"


def list_imagenet(root: Path, split: str) -> Listing:
    """The classes in the order of their sorted wnids, named by their synset, boxes of validation pictures.

    Args:
        root: ``.../ILSVRC/Data/CLS-LOC``, the parent of ``train`` and ``val``. The annotations are then in
            ``.../ILSVRC/Annotations/CLS-LOC/val``, the solution in ``...``, each where it is there.
        split: ``train`` or ``val``.
    """
    wnids = [folder.name for folder in class_folders(root / "train")]
    info = ImageNetInfo()
    known = set(info.label_names())
    names = [info.label_name_to_description(wnid).split(",")[0] if wnid in known else wnid for wnid in wnids]
    if split == "train":
        return replace(list_class_folders([root / "train" / wnid for wnid in wnids], names), wnids=wnids)
    if any((root / "val" / wnid).is_dir() for wnid in wnids):
        missing = [wnid for wnid in wnids if not (root / "val" / wnid).is_dir()]
        if missing:
            raise DataError(f"{root / 'val'} has no folder {missing[0]}, which {root / 'train'} has")
        listing = list_class_folders([root / "val" / wnid for wnid in wnids], names)
    else:
        listing = _list_flat_val(root, wnids, names)
    listing = replace(listing, wnids=wnids)
    annotations = _annotations(root)
    if annotations is None:
        return listing
    paths = [annotations / f"{Path(picture).stem}.xml" for picture in listing.pictures]
    # A picture without its file would have no box: then none has, rather than some.
    return replace(listing, boxes=paths if all(p.is_file() for p in paths) else None)


def _annotations(root: Path) -> Path | None:
    """``ILSVRC/Annotations/CLS-LOC/val`` beside ``ILSVRC/Data/CLS-LOC``."""
    folder = root.resolve() / ".." / ".." / "Annotations" / "CLS-LOC" / "val"
    return folder if folder.is_dir() else None


def _list_flat_val(root: Path, wnids: list[str], names: list[str]) -> Listing:
    """A folder of pictures whose classes stand in ``LOC_val_solution.csv``."""
    resolved = root.resolve()
    solution = next((p / SOLUTION for p in (resolved, *resolved.parents[:3]) if (p / SOLUTION).is_file()), None)
    if solution is None:
        raise DataError(
            f"{root / 'val'} has neither class folders nor a {SOLUTION} in {root} or the three folders above it"
        )
    with solution.open(newline="") as file:
        wnid_of = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    files = picture_files(root / "val")
    unknown = [file for file in files if file.stem not in wnid_of]
    if unknown:
        raise DataError(f"{unknown[0]} is not in {solution}")
    chosen = [file for file in files if wnid_of[file.stem] in label_of]
    if not chosen:
        raise DataError(f"{root / 'val'} has no picture of the classes in {root / 'train'}")
    return Listing(chosen, [label_of[wnid_of[file.stem]] for file in chosen], names)

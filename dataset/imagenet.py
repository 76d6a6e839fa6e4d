"""Reader of ImageNet (ILSVRC 2012): ``train/<wnid>/``, and ``val/<wnid>/`` or the flat ``val/`` of the download."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

from timm.data import ImageNetInfo

from dataset import DataError, Listing
from dataset.classes import distinct_names, few
from dataset.folder import class_folders, list_class_folders
from dataset.scan import picture_files
from dataset.tables import read_columns

logger = logging.getLogger(__name__)

SOLUTION = "LOC_val_solution.csv"


def list_imagenet(root: Path, split: str) -> Listing:
    """List a split of ImageNet, with boxes for validation; classes are sorted by wnid and named by their synset.

    Args:
        root: ``.../ILSVRC/Data/CLS-LOC``, the parent of ``train`` and ``val``. The boxes are read from
            ``.../ILSVRC/Annotations/CLS-LOC/val``, if it exists, the labels of a flat ``val`` from
            ``LOC_val_solution.csv`` in ``root`` or one of the three folders above it.
        split: ``train`` or ``val``.

    Raises:
        DataError: folders or pictures are missing, or a picture of a flat ``val`` has no label.
    """
    wnids = [folder.name for folder in class_folders(root / "train")]
    names = _names(wnids)
    if split == "train":
        return replace(list_class_folders([root / "train" / wnid for wnid in wnids], names), wnids=wnids)
    if any((root / "val" / wnid).is_dir() for wnid in wnids):
        missing = [wnid for wnid in wnids if not (root / "val" / wnid).is_dir()]
        if missing:
            logger.warning("%s has no folder %s, but %s has: a class without pictures", root / "val",
                           few(missing), root / "train")  # fmt: skip
        listing = list_class_folders([root / "val" / wnid for wnid in wnids], names)
    else:
        listing = _list_flat_val(root, wnids, names)
    listing = replace(listing, wnids=wnids)
    annotations = _annotations(root)
    if annotations is None:
        return listing
    paths = [annotations / f"{Path(picture).stem}.xml" for picture in listing.pictures]
    found = [path if path.is_file() else None for path in paths]
    return replace(listing, boxes=found if any(found) else None)


def _names(wnids: list[str]) -> list[str]:
    """First word of each synset, with its wnid if several synsets of ImageNet have it; the wnid of an unknown one."""
    info = ImageNetInfo()
    word_of = {wnid: info.label_name_to_description(wnid).split(",")[0] for wnid in info.label_names()}
    shared = [word for word, count in Counter(word_of.values()).items() if count > 1]
    return distinct_names([word_of.get(wnid, wnid) for wnid in wnids], wnids, ambiguous=shared)


def _annotations(root: Path) -> Path | None:
    """Find ``ILSVRC/Annotations/CLS-LOC/val`` next to ``ILSVRC/Data/CLS-LOC``."""
    folder = root.resolve() / ".." / ".." / "Annotations" / "CLS-LOC" / "val"
    return folder if folder.is_dir() else None


def _list_flat_val(root: Path, wnids: list[str], names: list[str]) -> Listing:
    """List a flat folder of pictures whose classes are in ``LOC_val_solution.csv``."""
    resolved = root.resolve()
    solution = next((p / SOLUTION for p in (resolved, *resolved.parents[:3]) if (p / SOLUTION).is_file()), None)
    if solution is None:
        raise DataError(
            f"{root / 'val'} has neither class folders nor a {SOLUTION} in {root} or the three folders above it: "
            "check --dataset_dir"
        )
    answers = read_columns(solution, ("ImageId", "PredictionString"))
    wnid_of = {image.removesuffix(".JPEG"): answer.split()[0] for image, answer in answers.items()}
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    files = picture_files(root / "val")
    unknown = [file for file in files if file.stem not in wnid_of]
    if unknown:
        raise DataError(f"{unknown[0]} is not in {solution}: remove the picture or complete the file")
    chosen = [file for file in files if wnid_of[file.stem] in label_of]
    if not chosen:
        raise DataError(f"{root / 'val'} has no picture of the classes in {root / 'train'}: check --dataset_dir")
    return Listing(chosen, [label_of[wnid_of[file.stem]] for file in chosen], names)

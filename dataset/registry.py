"""The datasets by name, and how one split of one is built."""

import difflib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dataset import DataError, Listing
from dataset.check import usable
from dataset.context import list_context
from dataset.cub200 import list_cub200
from dataset.folder import list_folder
from dataset.imagenet import list_imagenet
from dataset.mnist import list_fashion_mnist, list_kmnist, list_mnist, list_mnist5k
from dataset.pictures import PictureDataset
from dataset.similarity import least_similar, read_lsc
from dataset.transforms import augmentation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetSpec:
    """What the project knows of a dataset.

    Attributes:
        list_split: (root, "train" or "val") to a listing of all classes.
        first_classes: the first N classes may be taken; otherwise all that are found are needed.
        default_dir: where it is without ``--dataset_dir``; None if that must be given.
        needs_dir: False for data that ship with the project.
        splits_at_random: whether it takes ``val_ratio``.
        in_chans, mean, std: channels, and their statistics for values in [0, 1].
    """

    list_split: Callable[..., Listing]
    first_classes: bool = True
    default_dir: str | None = None
    needs_dir: bool = True
    splits_at_random: bool = False
    in_chans: int = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


_GREY: dict[str, Any] = {"in_chans": 1, "mean": (0.1307,), "std": (0.3081,)}

DATASETS: dict[str, DatasetSpec] = {
    "MNIST": DatasetSpec(list_mnist, default_dir="./data/mnist", **_GREY),
    "FashionMNIST": DatasetSpec(
        list_fashion_mnist, default_dir="./data/mnist", in_chans=1, mean=(0.2860,), std=(0.3530,)
    ),
    "KMNIST": DatasetSpec(list_kmnist, default_dir="./data/mnist", in_chans=1, mean=(0.1918,), std=(0.3483,)),
    "MNIST5k": DatasetSpec(list_mnist5k, needs_dir=False, **_GREY),
    "ImageNet": DatasetSpec(list_imagenet),
    "ConText": DatasetSpec(list_context, first_classes=False),
    "CUB200": DatasetSpec(list_cub200),
    "Folder": DatasetSpec(list_folder, first_classes=False, splits_at_random=True),
}


def dataset_spec(name: str) -> DatasetSpec:
    """The entry of :data:`DATASETS`.

    Raises:
        DataError: there is none of that name.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name.lower(), [known.lower() for known in DATASETS], n=1)
        hint = [f"did you mean {known}? " for known in DATASETS if [known.lower()] == near]
        raise DataError(f"unknown dataset '{name}': {''.join(hint)}choose one of {', '.join(DATASETS)}")
    return DATASETS[name]


def build_dataset(
    name: str,
    split: str,
    *,
    dataset_dir: str | None,
    num_classes: int | None,
    img_size: tuple[int, int],
    augment: bool = False,
    policies: Sequence[str] = (),
    val_ratio: float = 0.2,
    bad_images: str = "error",
) -> PictureDataset:
    """One split of a dataset.

    Args:
        name: a key of :data:`DATASETS`.
        split: ``train`` or ``val``.
        dataset_dir: where the data are; None for the dataset's own place.
        num_classes: outputs wanted; None takes what is found.
        img_size: (H, W) of the samples.
        augment: apply the paper's augmentation to training pictures.
        policies: stronger ones, keys of ``dataset.transforms.POLICIES``.
        val_ratio: share that validates, of class folders that are not split.
        bad_images: ``error`` to stop at pictures that cannot be used, ``skip`` to leave them out and say so.

    Raises:
        DataError: an unknown dataset, data that are not there or not usable, more or fewer classes than can be.
    """
    spec = dataset_spec(name)
    place = dataset_dir or spec.default_dir
    if spec.needs_dir and place is None:
        raise DataError(f"--dataset {name} needs --dataset_dir, the folder with its pictures")
    if dataset_dir and spec.needs_dir and not Path(dataset_dir).is_dir():
        raise DataError(f"--dataset_dir {dataset_dir}: no such folder")
    options = {"val_ratio": val_ratio} if spec.splits_at_random else {}
    listing = spec.list_split(Path(place) if place else None, split, **options)
    listing, num_classes = _choose_classes(listing, num_classes, name=name, spec=spec, split=split)
    if not isinstance(listing.pictures, np.ndarray):
        listing = usable(listing, bad_images)
    changed = augmentation(img_size, paper=augment, policies=policies) if split == "train" else None
    return PictureDataset(listing, img_size=img_size, in_chans=spec.in_chans, num_classes=num_classes, augment=changed)


def build_validation(
    name: str, *, in_chans: int, class_names: Sequence[str] | None, **config: Any
) -> PictureDataset:  # fmt: skip
    """The validation split of a dataset for a model that is trained.

    Args:
        name: a key of :data:`DATASETS`.
        in_chans: channels that the model takes.
        class_names: of the model's outputs, to say where they are others; None where they are not known.
        config: keywords of :func:`build_dataset`.

    Raises:
        DataError: as :func:`build_dataset`, and pictures with other channels.
    """
    spec = dataset_spec(name)
    if spec.in_chans != in_chans:
        raise DataError(f"--dataset {name} has {spec.in_chans} channels, the model takes {in_chans}: give data such "
                        "as it was trained on")  # fmt: skip
    val_set = build_dataset(name, "val", **config)
    for label, (trained, here) in enumerate(zip(class_names or (), val_set.class_names, strict=False)):
        if trained != here:
            logger.warning(
                "the classes are not those of the training: class %d is %s here, was %s", label, here, trained
            )
            break
    return val_set


def least_similar_classes(data: PictureDataset, lsc: str | None) -> list[int] | None:
    """For each class the one that a negative model explains: from a file, or by WordNet where classes are synsets.

    Args:
        data: of which split does not matter.
        lsc: ``--lsc``.

    Returns:
        c indices, None where neither is known.

    Raises:
        DataError: as :func:`dataset.similarity.read_lsc`.
    """
    if lsc:
        known = read_lsc(Path(lsc), data.listing.class_names)
        return known + [0] * (data.num_classes - len(known))  # outputs that no category fills have no pictures
    wnids = data.listing.wnids
    if not wnids or len(wnids) < max(2, data.num_classes):
        return None
    try:
        return least_similar(wnids)
    except DataError as error:
        logger.warning("WordNet does not say which classes are least similar: %s", error)
        return None


def class_number(name: str, names: Sequence[str]) -> int:
    """The class of a name or a number.

    Raises:
        DataError: there is none.
    """
    if name in names:
        return list(names).index(name)
    if re.fullmatch("[0-9]+", name) and int(name) < len(names):
        return int(name)
    raise DataError(f"--classes {name}: the model has no such class; it has {', '.join(names[:10])}"
                    + (f", ... ({len(names)} in all)" if len(names) > 10 else ""))  # fmt: skip


def _choose_classes(
    listing: Listing, num_classes: int | None, *, name: str, spec: DatasetSpec, split: str
) -> tuple[Listing, int]:
    """The pictures of the classes wanted, and the number of outputs for them."""
    found = len(listing.class_names)
    if num_classes is None or num_classes == found:
        return listing, found
    if spec.first_classes:
        if num_classes > found:
            raise DataError(f"--num_classes {num_classes}: {name} has {found} classes here; give at most that many")
        chosen = [i for i, label in enumerate(listing.labels) if label < num_classes]
        names, wnids = listing.class_names[:num_classes], listing.wnids and listing.wnids[:num_classes]
        return replace(listing.subset(chosen), class_names=names, wnids=wnids), num_classes
    if num_classes < found:
        raise DataError(f"--num_classes {num_classes}: {name} has {found} categories here; give at least that many")
    if split == "train":
        logger.warning("num_classes %d, but %s has %d categories here: the others stay empty", num_classes, name, found)
    return listing, num_classes

"""Registry of the datasets by name, and the functions that build a split of one."""

import difflib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dataset import DataError, Listing
from dataset.check import check_pictures, warn_of_shared
from dataset.classes import classes_called, few, fingerprint, matched
from dataset.context import list_context
from dataset.cub200 import list_cub200
from dataset.folder import list_folder
from dataset.folds import fold_listing
from dataset.held_out import drawn_listing
from dataset.imagenet import list_imagenet
from dataset.known_files import KnownFiles
from dataset.mnist import list_fashion_mnist, list_kmnist, list_mnist, list_mnist5k
from dataset.pictures import PictureDataset
from dataset.similarity import least_similar, read_lsc
from dataset.tables import whole_number
from dataset.transforms import augmentation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetSpec:
    """Reader and properties of a dataset.

    Attributes:
        list_split: reader, takes the folder and ``train`` or ``val``, and returns a listing of all classes.
        first_classes: True if ``--num_classes N`` selects the first N classes, False if all classes are always used.
        default_dir: folder used without ``--dataset_dir``; None if there is no default.
        needs_dir: False for data that ship with the project.
        test_split: what the reader calls the split of ``--split test``; None if there are no labels for it.
        splits_at_random: True if the reader takes ``val_ratio`` and ``val_from_train``.
        in_chans, mean, std: number of channels, and their statistics for values in [0, 1].
    """

    list_split: Callable[..., Listing]
    first_classes: bool = True
    default_dir: str | None = None
    needs_dir: bool = True
    test_split: str | None = "val"
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
    "ImageNet": DatasetSpec(list_imagenet, test_split=None),
    "ConText": DatasetSpec(list_context, first_classes=False),
    "CUB200": DatasetSpec(list_cub200),
    "Folder": DatasetSpec(list_folder, first_classes=False, splits_at_random=True, test_split="test"),
}


def dataset_spec(name: str) -> DatasetSpec:
    """Look up a dataset in :data:`DATASETS`.

    Raises:
        DataError: an unknown name.
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
    augment: bool | str = False,
    policies: Sequence[str] = (),
    val_ratio: float = 0.2,
    val_from_train: bool = False,
    cross_validation: Mapping[str, Any] | None = None,
    held_out: Sequence[str] | None = None,
    bad_images: str = "error",
    class_names: Sequence[str] | None = None,
    wnids: Sequence[str] | None = None,
    complete: bool = True,
    known: KnownFiles | None = None,
) -> PictureDataset:
    """Build a split of a dataset.

    Args:
        name: key of :data:`DATASETS`.
        split: ``train``, ``val`` or ``test``.
        dataset_dir: folder of the data; None for the dataset's default.
        num_classes: number of outputs of the classifier; None for the number of classes found.
        img_size: (H, W) of the samples.
        augment: augmentation of training pictures, see :func:`dataset.transforms.augmentation`.
        policies: further augmentation of training pictures, keys of :data:`dataset.transforms.POLICIES`.
        val_ratio, val_from_train: see :func:`dataset.folder.list_folder`.
        cross_validation: keywords of :func:`dataset.folds.fold_listing`, for ``train`` and ``val``; None for the splits
            of the dataset.
        held_out: names of the validation pictures of a trained model, if its split was drawn at random, see
            :func:`dataset.held_out.drawn_listing`.
        bad_images: ``error`` to raise if there are unusable pictures, ``skip`` to leave them out with a warning.
        class_names: names of the outputs of a trained model, in whose order the classes are then, whatever
            ``num_classes`` is; None for the dataset's own order.
        wnids: WordNet id of each of these outputs, if it is known.
        complete: the data must have every class of ``class_names``.
        known: picture files that are not to be checked again unless they have changed.

    Raises:
        DataError: an unknown dataset, missing or unusable data, or classes that do not fit the data.
    """
    spec = dataset_spec(name)
    folder = dataset_dir or spec.default_dir
    if spec.needs_dir and folder is None:
        raise DataError(f"--dataset {name} needs its folder: --dataset_dir DIR, or --data {name}:DIR in the head study")
    if dataset_dir and spec.needs_dir and not Path(dataset_dir).is_dir():
        raise DataError(f"--dataset_dir {dataset_dir}: no such folder")
    if split == "test" and spec.test_split is None:
        raise DataError(f"--split test: the test pictures of {name} have no public labels; leave the flag out")
    split = spec.test_split or split if split == "test" else split
    listing = _list_split(spec, folder, split, val_ratio=val_ratio, val_from_train=val_from_train,
                          cross_validation=cross_validation, held_out=held_out)  # fmt: skip
    if cross_validation and listing.held_out and listing.drawn_from is None:
        split += f", fold {cross_validation['fold']} of {cross_validation['folds']}"
    if class_names is None:
        listing, num_classes = _choose_classes(listing, num_classes, name=name, spec=spec, split=split)
    else:
        listing = matched(listing, class_names, selects=spec.first_classes, complete=complete, wnids=wnids)
        num_classes = len(class_names)
    if not isinstance(listing.pictures, np.ndarray):
        listing = check_pictures(listing, bad_images, known)
    transform = augmentation(augment=augment, policies=policies) if split.startswith("train") else None
    data = PictureDataset(
        listing, img_size=img_size, in_chans=spec.in_chans, num_classes=num_classes, augment=transform,
        bad_images=bad_images,
    )  # fmt: skip
    data.origin = {
        "dataset": name, "folder": _folder_name(folder) if folder and spec.needs_dir else "", "split": split,
        "pictures": len(data), "classes": fingerprint(sorted(data.class_names)),
    }  # fmt: skip
    return data


def _list_split(
    spec: DatasetSpec, folder: str | None, split: str, *, val_ratio: float, val_from_train: bool,
    cross_validation: Mapping[str, Any] | None, held_out: Sequence[str] | None,
) -> Listing:  # fmt: skip
    """List a split of a dataset as its reader or a fold has it; arguments as for :func:`build_dataset`."""
    root = Path(folder) if folder and spec.needs_dir else None
    options = {"val_ratio": val_ratio, "val_from_train": val_from_train} if spec.splits_at_random else {}

    def read(part: str) -> Listing:
        part = "train" if part == "all" and not spec.splits_at_random else part
        return spec.list_split(Path(folder) if folder else None, part, **options)

    if cross_validation and split != "test":
        return fold_listing(read, split, root, **cross_validation)
    return drawn_listing(read, split, held_out=held_out)


def _folder_name(folder: str) -> str:
    """Name of a folder, as valid text."""
    return os.fsencode(Path(folder).resolve().name).decode("utf-8", "replace")


def build_validation(
    name: str, *, in_chans: int, class_names: Sequence[str] | None, split: str = "val", **config: Any
) -> PictureDataset:  # fmt: skip
    """Build a split of a dataset for a trained model; its labels are the model's outputs.

    A split with some of the model's classes is used as it is, with a warning; without names in the checkpoint, classes
    are taken in the order of the dataset, with a warning too.

    Args:
        name: key of :data:`DATASETS`.
        in_chans: channels of the model's pictures.
        class_names: names of the model's outputs; None if they are unknown.
        split: ``train``, ``val`` or ``test``.
        config: keywords of :func:`build_dataset`.

    Raises:
        DataError: see :func:`build_dataset`, or pictures with another number of channels.
    """
    spec = dataset_spec(name)
    if spec.in_chans != in_chans:
        raise DataError(f"--dataset {name} has {spec.in_chans} channels, the model takes {in_chans}: give data like "
                        "that it was trained on")  # fmt: skip
    val_set = build_dataset(name, split, class_names=class_names, complete=False, **config)
    if class_names is None:
        logger.warning("the checkpoint has no class names: its outputs are taken for the classes in the order of the "
                       "data (%s)", few(val_set.class_names))  # fmt: skip
    present = set(val_set.listing.labels)
    absent = [name for label, name in enumerate(val_set.class_names) if label not in present]
    if absent:
        logger.warning("evaluated on %d of the %d classes of the model: there are no pictures of %s",
                       len(present), val_set.num_classes, few(absent))  # fmt: skip
    return val_set


def warn_of_training_pictures(
    name: str, test: Listing, *, dataset_dir: str | None, val_ratio: float = 0.2, val_from_train: bool = False,
    cross_validation: Mapping[str, Any] | None = None, held_out: Sequence[str] | None = None,
    known: KnownFiles | None = None, **others: Any,
) -> None:  # fmt: skip
    """Warn of pictures of a test split that are also training pictures of the same folder.

    Of a dataset whose test split is its validation split, training has compared them; a test set alone has none.

    Args:
        name: key of :data:`DATASETS`.
        test: the test split.
        dataset_dir, val_ratio, val_from_train, cross_validation, held_out, known: of :func:`build_dataset`, which has
            ``others``, too.
    """
    spec = dataset_spec(name)
    if spec.test_split != "test" or dataset_dir is None:
        return
    try:
        train = _list_split(spec, dataset_dir, "train", val_ratio=val_ratio, val_from_train=val_from_train,
                            cross_validation=cross_validation, held_out=held_out)  # fmt: skip
    except DataError:
        return
    warn_of_shared(train, test, "test", known)


def least_similar_classes(data: PictureDataset, lsc: str | None) -> list[int] | None:
    """Least similar class (LSC) of each class, from a file, or from WordNet if classes are synsets.

    Args:
        data: any split.
        lsc: file of the least similar classes, ``--lsc``.

    Returns:
        c class indices; None without a file if WordNet does not apply.

    Raises:
        DataError: see :func:`dataset.similarity.read_lsc`.
    """
    if lsc:
        known = read_lsc(Path(lsc), data.listing.class_names)
        return known + [0] * (data.num_classes - len(known))  # outputs without a class have no pictures
    wnids = data.listing.wnids
    if not wnids or len(wnids) < max(2, data.num_classes):
        return None
    try:
        return least_similar(wnids)
    except DataError as error:
        logger.warning("WordNet does not say which classes are least similar: %s", error)
        return None


def class_number(name: str, names: Sequence[str], *, flag: str = "--classes") -> int:
    """Index of the class with this name, synset or index; ``flag`` names the source of the name in messages.

    Raises:
        DataError: there is no such class, or there are several.
    """
    found = classes_called(name, names)
    if len(found) > 1:
        raise DataError(f"{flag} {name}: {len(found)} classes have this name; give one of "
                        f"{', '.join(f'{label} ({names[label]})' for label in found)}")  # fmt: skip
    if found:
        return found[0]
    number = whole_number(name)
    if number is not None and number < len(names):
        return number
    raise DataError(f"{flag} {name[:60]}: the model has no such class; it has {', '.join(names[:10])}"
                    + (f", ... ({len(names)} in all)" if len(names) > 10 else ""))  # fmt: skip


def _choose_classes(
    listing: Listing, num_classes: int | None, *, name: str, spec: DatasetSpec, split: str
) -> tuple[Listing, int]:
    """Select the pictures of the requested classes; returns their listing and the number of outputs."""
    found = len(listing.class_names)
    if num_classes is None or num_classes == found:
        return listing, found
    if spec.first_classes:
        if num_classes > found:
            raise DataError(f"--num_classes {num_classes}: {name} has {found} classes here; give {found} or fewer")
        chosen = [i for i, label in enumerate(listing.labels) if label < num_classes]
        names, wnids = listing.class_names[:num_classes], listing.wnids and listing.wnids[:num_classes]
        ids = listing.class_ids and listing.class_ids[:num_classes]
        return replace(listing.subset(chosen), class_names=names, wnids=wnids, class_ids=ids), num_classes
    if num_classes < found:
        raise DataError(f"--num_classes {num_classes}: {name} has {found} categories here; leave the flag out, or give "
                        f"{found} or more")  # fmt: skip
    if split == "train":
        logger.warning("--num_classes %d, but %s has %d categories here: the other outputs stay unused",
                       num_classes, name, found)  # fmt: skip
    return listing, num_classes

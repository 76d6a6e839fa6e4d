"""Readers of MNIST (LeCun et al. 1998), Fashion-MNIST and KMNIST in torchvision's layout, and of MNIST5k."""

import pickle
from pathlib import Path

import numpy as np
import torchvision

from dataset import DataError, Listing

DIGITS = [str(digit) for digit in range(10)]
MNIST5K_FILE = Path(__file__).parent / "mnist5k" / "mnist5k.npz"
IDX_FILES = 4  # pictures and labels of two splits
REPLACE = "delete them to download them again, or put the four whole idx files there"
# What torchvision raises for a failed download, and for content that is not in its format.
UNREADABLE = (RuntimeError, OSError, ValueError, TypeError, KeyError, AssertionError, EOFError, pickle.UnpicklingError)
TRAIN_PER_CLASS = 400  # of 500; see mnist5k/README.md


def list_mnist(root: Path, split: str) -> Listing:
    """List a split of MNIST in ``root/MNIST/raw``."""
    return _list(torchvision.datasets.MNIST, root, split, DIGITS, alternative=", or use --dataset MNIST5k")


def list_fashion_mnist(root: Path, split: str) -> Listing:
    """List a split of Fashion-MNIST (Xiao et al. 2017) in ``root/FashionMNIST/raw``."""
    return _list(torchvision.datasets.FashionMNIST, root, split, torchvision.datasets.FashionMNIST.classes)


def list_kmnist(root: Path, split: str) -> Listing:
    """List a split of Kuzushiji-MNIST (Clanuwat et al. 2018) in ``root/KMNIST/raw``."""
    return _list(torchvision.datasets.KMNIST, root, split, torchvision.datasets.KMNIST.classes)


def _list(
    kind: type[torchvision.datasets.MNIST], root: Path, split: str, class_names: list[str], *, alternative: str = ""
) -> Listing:
    """List a split of a dataset in MNIST's format, after downloading it if it is missing.

    Raises:
        DataError: the dataset is missing and cannot be downloaded, or its files are damaged or do not belong together.
    """
    name = kind.__name__
    raw = Path(root, name, "raw")
    try:
        data = kind(str(root), train=split == "train", download=True)
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:160]
        if len(list(raw.glob("*-ubyte"))) == IDX_FILES:
            raise DataError(f"{name}: the files in {raw} are damaged ({reason}): {REPLACE}") from error
        if raw.is_dir() and not any(raw.iterdir()):
            raw.rmdir()  # torchvision creates it before the download
        raise DataError(
            f"{name} is not in {raw} and could not be downloaded ({reason}): put its four idx files there{alternative}"
        ) from error
    pictures, labels = data.data.numpy(), data.targets.tolist()
    if len(pictures) != len(labels):
        raise DataError(f"{name}: {len(pictures)} pictures and {len(labels)} labels in {raw}, which are of different "
                        f"splits or datasets: {REPLACE}")  # fmt: skip
    if max(labels, default=0) >= len(class_names):
        raise DataError(f"{name}: label {max(labels)} in {raw}, though it has {len(class_names)} classes: {REPLACE}")
    return Listing(pictures, labels, list(class_names))


def list_mnist5k(root: Path | None, split: str) -> Listing:
    """List a split of MNIST5k, 5,000 digits in the repository: 400 of each class for training, 100 for validation.

    The classes alternate, so that pictures 0 to 9 are the ten digits.

    Args:
        root: not used.
        split: ``train`` or ``val``.
    """
    with np.load(MNIST5K_FILE) as file:
        images, labels = file["images"], file["labels"]
    # The file is sorted by class.
    index_in_class = np.concatenate([np.arange(count) for count in np.bincount(labels)])
    chosen = np.flatnonzero((index_in_class < TRAIN_PER_CLASS) == (split == "train"))
    chosen = chosen[np.argsort(index_in_class[chosen], kind="stable")]
    return Listing(images[chosen], labels[chosen].tolist(), DIGITS)

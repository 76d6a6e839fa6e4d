"""MNIST (LeCun et al. 1998) and its heirs as torchvision stores them, and the digits that ship with the project."""

from pathlib import Path

import numpy as np
import torchvision

from dataset import DataError, Listing

DIGITS = [str(digit) for digit in range(10)]
MNIST5K_FILE = Path(__file__).parent / "mnist5k" / "mnist5k.npz"
TRAIN_PER_CLASS = 400  # of 500; see mnist5k/README.md


def list_mnist(root: Path, split: str) -> Listing:
    """The digits under ``root/MNIST/raw``."""
    return _list(torchvision.datasets.MNIST, root, split, DIGITS, way_out=", or use --dataset MNIST5k")


def list_fashion_mnist(root: Path, split: str) -> Listing:
    """Fashion-MNIST (Xiao et al. 2017) under ``root/FashionMNIST/raw``."""
    return _list(torchvision.datasets.FashionMNIST, root, split, torchvision.datasets.FashionMNIST.classes)


def list_kmnist(root: Path, split: str) -> Listing:
    """Kuzushiji-MNIST (Clanuwat et al. 2018) under ``root/KMNIST/raw``."""
    return _list(torchvision.datasets.KMNIST, root, split, torchvision.datasets.KMNIST.classes)


def _list(
    kind: type[torchvision.datasets.MNIST], root: Path, split: str, class_names: list[str], *, way_out: str = ""
) -> Listing:
    """A set in MNIST's format, downloaded if it is missing.

    Raises:
        DataError: it is missing and cannot be downloaded, or its files are damaged.
    """
    name = kind.__name__
    raw = Path(root, name, "raw")
    try:
        data = kind(str(root), train=split == "train", download=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:160]
        if raw.is_dir() and not any(raw.iterdir()):
            raw.rmdir()  # torchvision makes it before it downloads
        raise DataError(
            f"{name} is not in {raw} and could not be downloaded ({reason}): put its four idx files there{way_out}"
        ) from error
    return Listing(data.data.numpy(), data.targets.tolist(), list(class_names))


def list_mnist5k(root: Path | None, split: str) -> Listing:
    """The digits in the repository: of each class the first 400 train, the last 100 validate.

    The classes alternate, so that pictures 0 to 9 are the ten digits.
    """
    with np.load(MNIST5K_FILE) as file:
        images, labels = file["images"], file["labels"]
    place = np.concatenate([np.arange(count) for count in np.bincount(labels)])  # within the class: sorted by class
    chosen = np.flatnonzero((place < TRAIN_PER_CLASS) == (split == "train"))
    chosen = chosen[np.argsort(place[chosen], kind="stable")]
    return Listing(images[chosen], labels[chosen].tolist(), DIGITS)

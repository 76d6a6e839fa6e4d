"""MNIST (LeCun et al. 1998) as torchvision stores it, and the 5,000 of its digits that ship with the project."""

from pathlib import Path

import numpy as np
import torchvision

from dataset import DataError, Listing

DIGITS = [str(digit) for digit in range(10)]
MNIST5K_FILE = Path(__file__).parent / "mnist5k" / "mnist5k.npz"
TRAIN_PER_CLASS = 400  # of 500; see mnist5k/README.md


def list_mnist(root: Path, split: str) -> Listing:
    """The full MNIST under ``root/MNIST/raw``, downloaded if it is missing.

    Raises:
        DataError: it is missing and cannot be downloaded, or its files are damaged.
    """
    try:
        data = torchvision.datasets.MNIST(str(root), train=split == "train", download=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:160]
        raw = Path(root, "MNIST", "raw")
        if raw.is_dir() and not any(raw.iterdir()):
            raw.rmdir()  # torchvision makes it before it downloads
        raise DataError(
            f"MNIST is not in {root}/MNIST/raw and could not be downloaded ({reason}): put its four idx files "
            "there, or use --dataset MNIST5k, which ships with the project"
        ) from error
    return Listing(data.data.numpy(), data.targets.tolist(), DIGITS)


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

"""Reader of Con-Text (Karaoglu et al. 2013): ``JPEGImages/<Category>_<number>.jpg``, split 80/20 at random."""

from pathlib import Path

import numpy as np

from dataset import DataError, Listing
from dataset.scan import Skipped, picture_files

TRAIN_SHARE = 0.8
SEED = 1


def list_context(root: Path, split: str) -> Listing:
    """List a split of Con-Text: categories are the prefixes of file names, the split is that of the published code.

    That code calls scikit-learn's ``train_test_split(random_state=1, train_size=0.8)`` on the sorted files, which draws
    one permutation from NumPy's legacy generator and takes its first 20 %, rounded up, for testing.

    Args:
        root: the folder ``JPEGImages``.
        split: ``train`` or ``val``.

    Raises:
        DataError: the folder is missing or has no pictures.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: check --dataset_dir")
    skipped = Skipped(root)
    files = picture_files(root, skipped)
    if not files:
        raise DataError(f"there are no pictures in {root}: check --dataset_dir")
    skipped.report()
    categories = [file.name.partition("_")[0] for file in files]
    names = sorted(set(categories))
    test_count = len(files) - int(TRAIN_SHARE * len(files))
    order = np.random.RandomState(SEED).permutation(len(files))
    chosen = order[test_count:] if split == "train" else order[:test_count]
    return Listing([files[i] for i in chosen], [names.index(categories[i]) for i in chosen], names)

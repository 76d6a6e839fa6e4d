"""How the pictures of a split are spread over its classes."""

import torch

from dataset.pictures import PictureDataset


def class_counts(data: PictureDataset) -> torch.Tensor:
    """(c) pictures of each class."""
    return torch.bincount(torch.tensor(data.listing.labels), minlength=data.num_classes)


def imbalance(data: PictureDataset) -> str:
    """A note that names the largest and the smallest class; empty unless one is at least twice as large."""
    counts = class_counts(data)
    present = counts[counts > 0]
    if present.max() < 2 * present.min():
        return ""
    large, small = (data.class_names[int((counts == size).nonzero()[0])] for size in (present.max(), present.min()))
    return (
        f"classes of unequal size: {int(present.max())} training pictures of {large}, {int(present.min())} of {small}"
    )

"""Class balance of a split: number of pictures per class, and a note if they differ by a factor of two."""

import torch

from dataset.pictures import PictureDataset


def class_counts(data: PictureDataset) -> torch.Tensor:
    """Count the pictures of each class, (c)."""
    return torch.bincount(torch.tensor(data.listing.labels), minlength=data.num_classes)


def imbalance(data: PictureDataset) -> str:
    """Note that names the largest and the smallest class; empty unless the largest is at least twice as large."""
    counts = class_counts(data)
    present = counts[counts > 0]
    most, least = int(present.max()), int(present.min())
    if most < 2 * least:
        return ""
    large, small = (data.class_names[int((counts == size).nonzero()[0])] for size in (most, least))
    return f"classes of unequal size: {most} training pictures of {large}, {least} of {small}"

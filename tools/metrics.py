"""Figures of a batch of predictions and maps, as sums over its samples."""

import torch
from torch import Tensor


def topk_correct(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """How many labels are among the k highest of (b, c) logits; k is cut to c.

    A tie counts against the sample as far as it must: a class with the same logit and a lower index comes first.
    A logit that is not finite is never right.
    """
    own = logits.gather(1, labels[:, None])  # (b, 1)
    index = torch.arange(logits.shape[1], device=logits.device)  # (c)
    ahead = (logits > own) | ((logits == own) & (index < labels[:, None]))  # (b, c)
    return ((ahead.sum(1) < k) & own.squeeze(1).isfinite()).sum()


def confusion_counts(logits: Tensor, labels: Tensor) -> Tensor:
    """(c, c) counts of a batch: rows are the true classes, columns those with the highest of (b, c) logits."""
    c = logits.shape[1]
    return torch.bincount(labels * c + logits.argmax(1), minlength=c * c).view(c, c)


def min_max(maps: Tensor) -> Tensor:
    """Scale (b, ...) maps to [0, 1] over everything of a sample together; a constant sample becomes 0."""
    flat = maps.flatten(1)
    low = flat.amin(1).view(-1, *[1] * (maps.ndim - 1))
    high = flat.amax(1).view_as(low)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def explanation_area(maps: Tensor, labels: Tensor, *, negative: bool) -> Tensor:
    """Size of the explanations of a batch: the mean over the grid of the map of the explained class.

    Maps are scaled over all classes of a picture together (section 4.1 of the paper). A positive model
    explains the true class; a negative one says why the others are not it, so that the mean over all other
    classes is taken.

    Args:
        maps: (b, c, h, w), not negative.
        labels: (b), the true classes.
        negative: whether the model is a negative one.

    Returns:
        (b), each in [0, 1].
    """
    areas = min_max(maps).mean((2, 3))  # (b, c)
    own = areas.gather(1, labels[:, None]).squeeze(1)  # (b)
    if not negative:
        return own
    return (areas.sum(1) - own) / max(areas.shape[1] - 1, 1)

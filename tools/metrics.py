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


def explanation_area(maps: Tensor, labels: Tensor, *, negative: bool, explained: Tensor | None = None) -> Tensor:
    """Size of the explanations of a batch: the mean over the grid of the map of the explained class.

    Maps are scaled over all classes of a picture together (section 4.1 of the paper). A positive model
    explains the true class; a negative one says why it is not another, of which the paper takes the least similar.

    Args:
        maps: (b, c, h, w), not negative.
        labels: (b), the true classes.
        negative: whether the model is a negative one.
        explained: (c), for a negative model the least similar class of each; without it the mean over all wrong
            classes is taken.

    Returns:
        (b), each in [0, 1].
    """
    areas = min_max(maps).mean((2, 3))  # (b, c)
    classes = labels if explained is None or not negative else explained[labels]  # (b)
    chosen = areas.gather(1, classes[:, None]).squeeze(1)  # (b)
    if negative and explained is None:
        return (areas.sum(1) - chosen) / max(areas.shape[1] - 1, 1)
    return chosen

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

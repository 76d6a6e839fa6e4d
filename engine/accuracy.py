"""Accuracy counts of a batch of predictions."""

import torch
from torch import Tensor


def topk_correct(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Count the samples (b) whose label is among the k highest of their (b, c) logits; k may exceed c.

    Of equal logits, the class with the lower index ranks higher. A label whose logit is not finite is never counted.
    """
    own = logits.gather(1, labels[:, None])  # (b, 1)
    index = torch.arange(logits.shape[1], device=logits.device)  # (c)
    ahead = (logits > own) | ((logits == own) & (index < labels[:, None]))  # (b, c)
    return ((ahead.sum(1) < k) & own.squeeze(1).isfinite()).sum()


def confusion_counts(logits: Tensor, labels: Tensor) -> Tensor:
    """Confusion matrix (c, c) of a batch: true classes as rows, predicted ones (highest (b, c) logit) as columns."""
    c = logits.shape[1]
    return torch.bincount(labels * c + logits.argmax(1), minlength=c * c).view(c, c)

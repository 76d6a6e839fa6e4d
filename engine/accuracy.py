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

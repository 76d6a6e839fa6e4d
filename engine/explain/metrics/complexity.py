"""Complexity of a map: Gini index (Hurley and Rickard 2009) and entropy (Bhatt et al., IJCAI 2020) of its values.

Neither can tell whether a map marks the right places: a single wrong place has the best values. The entropy grows with
the number of places, so that maps of different resolutions are not comparable by it.
"""

import torch
from torch import Tensor

from engine.explain.metrics.batch import MapBatch


def gini(maps: Tensor) -> Tensor:
    """Gini index (b) of maps (b, ...), not negative: 0 for equal values, 1 - 1/n for a single place, 0 for zeros."""
    ordered = maps.flatten(1).sort(1).values  # (b, n)
    n = ordered.shape[1]
    ranks = torch.arange(1, n + 1, device=maps.device)
    total = ordered.sum(1)
    weighted = ((2 * ranks - n - 1) * ordered).sum(1) / n
    return torch.where(total > 0, weighted / total.clamp_min(torch.finfo(ordered.dtype).tiny), 0.0)


def entropy(maps: Tensor) -> Tensor:
    """Entropy (b) in nats of maps (b, ...), not negative, scaled to sum 1; log n for a map of zeros."""
    flat = maps.flatten(1)  # (b, n)
    total = flat.sum(1, keepdim=True)
    shares = torch.where(total > 0, flat / total.clamp_min(torch.finfo(flat.dtype).tiny), 1 / flat.shape[1])
    return -torch.xlogy(shares, shares).sum(1)


def complexity(batch: MapBatch) -> dict[str, Tensor]:
    """``gini`` and ``entropy`` of a batch, of the maps at their own resolution."""
    return {"gini": gini(batch.maps), "entropy": entropy(batch.maps)}

"""Completeness: does a map sum to what its method claims (Sundararajan et al., ICML 2017, section 3)?

The evidence of a slot model claims to sum to the logit, integrated gradients and DeepLIFT to the logit minus that of
the mean picture. Other maps claim nothing and have no value. The metric cannot tell whether the parts of the sum are
where they should be: the same sum spread at random is as complete.
"""

import torch
from torch import Tensor

from engine.explain.metrics.batch import MapBatch


def completeness_gap(maps: Tensor, claimed: Tensor) -> dict[str, Tensor]:
    """Distance of sums of maps (b, ...) from what they should be (b).

    Returns:
        (b) each, 0 at best: ``completeness``, relative to the sum of the map's magnitudes, 1 for an empty map that
        should not be empty; ``completeness_gap``, in nats.
    """
    flat = maps.flatten(1).cpu().double()
    gap = (flat.sum(1) - claimed.cpu().double()).abs()
    size = flat.abs().sum(1)
    relative = torch.where(size > 0, gap / size.clamp_min(torch.finfo(size.dtype).tiny), (gap > 0).double())
    return {"completeness": relative, "completeness_gap": gap}


def completeness(batch: MapBatch) -> dict[str, Tensor]:
    """``completeness`` and ``completeness_gap`` of a batch; nothing for maps that claim no sum."""
    if batch.claim is None:
        return {}
    return completeness_gap(batch.raw, batch.claim(batch.images, batch.classes))

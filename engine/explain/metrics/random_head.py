"""Random-head check: does a map depend on what the head has learned (after Adebayo et al., NeurIPS 2018, section 3)?

The weights of the classes (slots, or the rows of a linear classifier) are redrawn and the maps computed again. A map
that stays the same shows the backbone, not the class. The check cannot tell whether the map is right.
"""

import torch
from torch import Tensor, nn

REDRAWS = 5


def correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Pearson's correlation (b) over places of maps (b, ...) and others of the same shape.

    Returns:
        1 where the first map is empty, which does not pass the check; 0 where only the other one is constant.
    """
    first, second = maps.flatten(1), others.flatten(1)
    empty = first.amax(1) <= 0
    first, second = (values - values.mean(1, keepdim=True) for values in (first, second))
    norms = first.norm(dim=1) * second.norm(dim=1)
    found = (first * second).sum(1) / norms.clamp_min(torch.finfo(first.dtype).tiny)
    return torch.where(empty, 1.0, found)


def redrawn(weights: nn.Parameter, generator: torch.Generator) -> Tensor:
    """Random weights of the same shape, mean and standard deviation, each drawn for itself."""
    noise = torch.randn(weights.shape, generator=generator).to(weights)
    return weights.detach().mean() + weights.detach().std() * noise

"""Pearson's correlation of pairs of maps, defined for constant maps, too."""

import torch
from torch import Tensor


def pearson(maps: Tensor, others: Tensor) -> Tensor:
    """Pearson's correlation (b) over places of maps (b, ...) and others of the same shape.

    Returns:
        1 where both maps are constant, since then nothing distinguishes them; 0 where only one of them is.
    """
    # In double precision, where the squares of small values do not vanish, and on the CPU, since MPS has none.
    first, second = (values.flatten(1).cpu().double() for values in (maps, others))  # (b, n) each
    constant = [values.amax(1) == values.amin(1) for values in (first, second)]
    first, second = (values - values.mean(1, keepdim=True) for values in (first, second))
    norms = first.norm(dim=1) * second.norm(dim=1)
    found = (first * second).sum(1) / norms.clamp_min(torch.finfo(first.dtype).tiny)
    found = torch.where(constant[0] | constant[1], 0.0, found)
    return torch.where(constant[0] & constant[1], 1.0, found)

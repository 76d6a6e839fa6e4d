"""Efficient MPRT: does a map become more complex when the model is randomised (Hedstroem et al. 2023, section 3.2)?

The model-parameter-randomisation test asks whether a map depends on the model; this form compares the complexity of
the map before and after all weights are random at once, since a similarity of noisy maps says little. It cannot tell
whether a map is right, nor whether it depends on its class; and a map of few places is near the largest entropy, the
log of their number, already, so that maps of different resolutions are not comparable.
"""

import math

import torch
from torch import Tensor

from engine.explain.metrics.exchange import exchanged, random_state, state_of
from engine.explain.metrics.subject import Subject
from tools.console import progress

BINS = 100


def histogram_entropy(maps: Tensor, bins: int = BINS) -> Tensor:
    """Entropy (b) in nats of the histogram of the values of maps (b, ...), from the lowest to the highest of each.

    0 for a constant map; values that are not finite count as zero.
    """
    flat = maps.flatten(1).cpu().double().nan_to_num(0, 0, 0)  # (b, n)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    places = (flat - low) / (high - low).clamp_min(torch.finfo(flat.dtype).tiny) * bins
    index = places.long().clamp(0, bins - 1)  # the highest value is in the last bin
    counts = torch.zeros(len(flat), bins, dtype=flat.dtype).scatter_add_(1, index, torch.ones_like(flat))  # (b, bins)
    shares = counts / flat.shape[1]
    return -torch.xlogy(shares, shares).sum(1)


def rise(before: Tensor, after: Tensor) -> Tensor:
    """Relative rise (b) of entropies, ``(after - before) / before``; 0 for a constant map, whose entropy is 0."""
    return torch.where(before > 0, (after - before) / before.clamp_min(math.ulp(1.0)), 0.0)


def efficient_mprt(subject: Subject) -> list[dict[str, float]]:
    """``mprt`` of every picture of this process; larger is better, and 0 or less means that nothing has changed."""
    tensors = state_of(subject.module)
    values = random_state(subject.module, seed=subject.settings.seed)
    with exchanged(tensors, values):
        explainer = subject.rebuild(None)
    records = []
    for batch in progress(subject.loader, f"{subject.title}: randomised model"):
        before = histogram_entropy(subject.raw_maps(batch))
        with exchanged(tensors, values):
            after = histogram_entropy(subject.raw_maps(batch, explainer))
        records += subject.records(batch, {"mprt": rise(before, after)})
    return records

"""Random-head check: does a map depend on what the head has learned (after Adebayo et al., NeurIPS 2018, section 3)?

The weights that belong to single classes (slots, or the rows of a linear classifier) are redrawn and the maps computed
again. A map that stays the same shows the backbone, not the class. The check cannot tell whether the map is right: a
map of noise that changes with the weights passes it.
"""

import torch
from torch import Tensor, nn

from engine.explain.metrics.correlation import pearson
from engine.explain.metrics.exchange import exchanged
from engine.explain.metrics.subject import Subject
from tools.console import progress

REDRAWS = 5


def correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Correlation (b) of maps (b, ...) with those of redrawn weights, see :func:`pearson`.

    Returns:
        1 where the first map is empty or both are constant, which does not pass the check.
    """
    return torch.where(maps.flatten(1).amax(1).cpu() <= 0, 1.0, pearson(maps, others))


def redrawn(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Random weights of the same shape, mean and standard deviation, each drawn for itself."""
    noise = torch.randn(weights.shape, generator=generator).to(weights)
    return weights.detach().mean() + weights.detach().std() * noise


def random_head(subject: Subject) -> list[dict[str, float]]:
    """``random_head`` of every picture of this process: mean :func:`correlation` over :data:`REDRAWS` redraws.

    0 is best: nothing of the map is left. 1 means that the map does not depend on the class.
    """
    generator = torch.Generator().manual_seed(subject.settings.seed)
    weights: list[nn.Parameter] = subject.class_weights
    draws = [[redrawn(own, generator) for own in weights] for _ in range(REDRAWS)]
    records = []
    for batch in progress(subject.loader, f"{subject.title}: random head"):
        maps, found = subject.maps(batch), []  # (b, h, w)
        for values in draws:
            with exchanged(weights, values):
                found.append(correlation(maps, subject.maps(batch)))
        records += subject.records(batch, {"random_head": torch.stack(found).mean(0)})
    return records

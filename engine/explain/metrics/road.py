"""ROAD, remove and debias (Rong et al., ICML 2022): probability as pixels are imputed, by their rank in the map.

Unlike a grey square, an imputed pixel does not show the model where something was removed. Pixels are removed most
relevant first (MoRF) and least relevant first (LeRF); a good map makes the probability fall fast in the first order and
slowly in the other. The metric cannot tell whether a map shows all that the model uses, and a model that is sure
whatever is removed gives every map about 0.
"""

import torch
from torch import Tensor

from engine.explain.interface import Logits
from engine.explain.metrics.batch import MapBatch
from engine.explain.metrics.imputation import impute


@torch.no_grad()
def road(
    logits: Logits, images: Tensor, maps: Tensor, classes: Tensor, *, steps: int = 9, noise: float = 0.01,
    seed: int = 0, batch_size: int = 64,
) -> Tensor:  # fmt: skip
    """Mean over shares of removed pixels of (probability in the order LeRF - probability in the order MoRF) / 2.

    Args:
        logits: the model.
        images: (b, ch, H, W), normalised.
        maps: (b, H, W); of equal pixels the first in reading order counts as the higher one.
        classes: (b).
        steps: the shares of the pixels are 1/(steps + 1), 2/(steps + 1), ..., for 9 steps .1 to .9.
        noise: see :func:`engine.explain.metrics.imputation.impute`.
        seed: seed of the noise.
        batch_size: pictures in one forward pass.

    Returns:
        (b) from -.5 to .5, more is better; 0 for a map whose order says nothing.
    """
    b, height, width = maps.shape
    n = height * width
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)  # (b, n)
    ranks = order.argsort(dim=1).view(b, height, width)
    total = torch.zeros(b, dtype=torch.float64)
    for step in range(1, steps + 1):
        count = round(n * step / (steps + 1))
        for removed, sign in ((ranks >= n - count, 1), (ranks < count, -1)):  # LeRF, MoRF
            changed = impute(images, removed, noise=noise, seed=seed)
            found = torch.cat([logits(part).float().softmax(1) for part in changed.split(batch_size)])  # (b, c)
            total += sign * found.gather(1, classes[:, None])[:, 0].cpu().double()
    return total / (2 * steps)


def road_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``road`` of a batch."""
    settings = batch.settings
    return {
        "road": road(
            batch.logits, batch.images, batch.large, batch.classes, steps=settings.road_steps,
            noise=settings.road_noise, seed=settings.seed, batch_size=batch.batch_size,
        )
    }  # fmt: skip

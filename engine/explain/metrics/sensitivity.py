"""Max-sensitivity (Yeh et al., NeurIPS 2019): how much a map changes when the picture changes a little.

It cannot tell a good map from a constant one, which does not change at all.
"""

import torch
from torch import Tensor

from engine.explain.interface import Explainer
from engine.explain.metrics.batch import MapBatch


def max_sensitivity(
    explainer: Explainer, images: Tensor, classes: Tensor, *, samples: int = 10, radius: float = 0.02, seed: int = 0
) -> Tensor:
    """Largest relative change of the map when every pixel changes a little at random.

    Args:
        explainer: source of the maps.
        images: (b, ch, H, W), normalised.
        classes: (b).
        samples: number of random changes.
        radius: largest change of each value, drawn uniformly, in units of the normalised picture.
        seed: seed of the changes.

    Returns:
        (b): max over the changes d of ``|map(x + d) - map(x)| / |map(x)|`` (Frobenius norms, maps clipped at zero);
        less is better. For a map of zeros ``|map(x + d)|``, as in captum.
    """
    targets = classes[:, None]
    generator = torch.Generator().manual_seed(seed)
    base = explainer(images, targets)[:, 0].clamp_min(0).flatten(1)  # (b, n)
    norm = base.norm(dim=1)  # (b)
    norm = torch.where(norm > 0, norm, 1.0)
    largest = torch.zeros(len(images), device=images.device)
    for _ in range(samples):
        change = (torch.rand(images.shape[1:], generator=generator) * 2 - 1).to(images) * radius  # (ch, H, W)
        moved = explainer(images + change, targets)[:, 0].clamp_min(0).flatten(1)  # (b, n)
        distance = (moved - base).norm(dim=1)
        largest = torch.maximum(largest, distance / norm)
    return largest


def sensitivity_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``sensitivity`` of a batch; every random change takes an explanation of each picture."""
    settings = batch.settings
    return {
        "sensitivity": max_sensitivity(
            batch.explainer, batch.images, batch.classes, samples=settings.sensitivity_samples,
            radius=settings.sensitivity_radius, seed=settings.seed,
        )
    }  # fmt: skip

"""Insertion and deletion (Petsiuk et al., BMVC 2018): probability as the highest-ranked pixels are added or removed.

They cannot tell a good map from a sure model, whose probability stays high whatever is missing. Half-blurred pictures
and pictures with grey holes are unlike those of the training, so that a part of the change comes from the holes.
"""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from engine.explain.interface import Logits
from engine.explain.metrics.batch import MapBatch


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Blur (b, ch, H, W); the kernel reaches three sigma, but less than the picture's shorter side."""
    reach = min(round(3 * sigma), min(images.shape[-2:]) - 1)
    return gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)


@torch.no_grad()
def replacement_curve(
    logits: Logits, start: Tensor, end: Tensor, maps: Tensor, classes: Tensor, *, steps: int, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Probability of classes as pixels of ``start`` are replaced by those of ``end``, the map's highest first.

    Args:
        logits: the model.
        start: (b, ch, H, W), the first pictures; for deletion the pictures themselves.
        end: (b, ch, H, W), the last pictures; for insertion the pictures themselves.
        maps: (b, H, W); equal pixels are taken in reading order.
        classes: (b, q).
        steps: number of equal shares of the pixels.
        batch_size: pictures in one forward pass.

    Returns:
        Fractions (steps + 1) of the pixels replaced, and probabilities (b, q, steps + 1).
    """
    b, height, width = maps.shape
    n = height * width
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)  # (b, n)
    ranks = order.argsort(dim=1).view(b, 1, height, width)
    counts = torch.linspace(0, n, steps + 1, dtype=torch.float64).round().long().to(maps.device)  # (steps + 1)
    jobs = torch.cartesian_prod(torch.arange(b), torch.arange(steps + 1)).to(maps.device)  # (b * (steps + 1), 2)
    found = []
    for chunk in jobs.split(batch_size):
        picture, step = chunk.T
        replaced = ranks[picture] < counts[step].view(-1, 1, 1, 1)  # (chunk, 1, H, W)
        mixed = torch.where(replaced, end[picture], start[picture])  # (chunk, ch, H, W)
        found.append(logits(mixed).float().softmax(1).gather(1, classes[picture]))  # (chunk, q)
    probabilities = torch.cat(found).view(b, steps + 1, -1).transpose(1, 2)  # (b, q, steps + 1)
    return counts / n, probabilities


def insertion_deletion(
    logits: Logits, images: Tensor, maps: Tensor, classes: Tensor, *, steps: int = 100, sigma: float = 5.0,
    batch_size: int = 64,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Areas under the curves of insertion, which begins blurred, and of deletion, which ends with the mean colour.

    Args:
        logits: the model.
        images: (b, ch, H, W), normalised.
        maps: (b, H, W).
        classes: (b, q) classes whose probability is followed.
        steps: number of equal shares of the pixels; with 100, a step is one percent.
        sigma: sigma of the blur that insertion starts from, in pixels; 5 in Petsiuk et al. for 224 pixels.
        batch_size: pictures in one forward pass.

    Returns:
        (b, q) insertion, more is better, and (b, q) deletion, less is better.
    """
    areas = []
    for start, end in ((blurred(images, sigma), images), (images, torch.zeros_like(images))):
        fractions, probabilities = replacement_curve(
            logits, start, end, maps, classes, steps=steps, batch_size=batch_size
        )
        areas.append(torch.trapezoid(probabilities, fractions.to(probabilities), dim=2))
    return areas[0], areas[1]


def insertion_deletion_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``iauc`` and ``dauc`` of a batch; where other classes are explained, also ``*_true`` of the true classes."""
    others = batch.explains_others
    classes = torch.stack([batch.classes, batch.labels], 1) if others else batch.classes[:, None]  # (b, q)
    inserted, deleted = insertion_deletion(
        batch.logits, batch.images, batch.large, classes, steps=batch.settings.steps, sigma=batch.settings.blur_sigma,
        batch_size=batch.batch_size,
    )  # fmt: skip
    values = {"iauc": inserted[:, 0], "dauc": deleted[:, 0]}
    return values | {"iauc_true": inserted[:, 1], "dauc_true": deleted[:, 1]} if others else values

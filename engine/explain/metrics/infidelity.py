"""Infidelity (Yeh et al., NeurIPS 2019): how badly a map predicts the effect of removing a part of the picture.

It cannot tell maps apart that differ by a factor, and where no square matters to the model every map is good.
"""

import torch
from torch import Tensor

from engine.explain.interface import Logits
from engine.explain.metrics.batch import MapBatch


def squares(size: tuple[int, int] | torch.Size, *, samples: int, side: float, seed: int) -> Tensor:
    """Random squares (samples, H, W) bool, wholly in the picture; ``side`` is a share of its shorter side."""
    height, width = size
    length = max(1, round(side * min(height, width)))
    generator = torch.Generator().manual_seed(seed)
    top = torch.randint(height - length + 1, (samples, 1, 1), generator=generator)
    left = torch.randint(width - length + 1, (samples, 1, 1), generator=generator)
    rows, columns = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    return (rows >= top) & (rows < top + length) & (columns >= left) & (columns < left + length)


@torch.no_grad()
def infidelity(
    logits: Logits, images: Tensor, maps: Tensor, classes: Tensor, *, samples: int = 50, side: float = 0.25,
    seed: int = 0, batch_size: int = 64,
) -> Tensor:  # fmt: skip
    """Mean over random squares of ``(I . map - (f(x) - f(x - I)))^2``.

    I is the picture inside the square and zero outside (the square removal of Yeh et al.), f the probability of the
    class. As in their paper, the map is first multiplied by the factor that makes the result smallest, since the
    scales of methods are not comparable.

    Args:
        logits: the model.
        images: (b, ch, H, W), normalised.
        maps: (b, H, W); each of the ch channels of a pixel gets 1/ch of its value.
        classes: (b).
        samples: number of squares.
        side: side of a square, as a share of the shorter side of the picture.
        seed: seed of the positions of the squares.
        batch_size: pictures in one forward pass.

    Returns:
        (b); less is better. For a map of zeros, the mean square of ``f(x) - f(x - I)``.
    """
    ch = images.shape[1]

    def probability(pictures: Tensor) -> Tensor:
        parts = [
            logits(p).float().softmax(1).gather(1, c[:, None])[:, 0]
            for p, c in zip(pictures.split(batch_size), classes.split(batch_size), strict=True)
        ]
        return torch.cat(parts)  # (b)

    whole = probability(images)  # (b)
    drops, predictions = [], []
    for square in squares(images.shape[-2:], samples=samples, side=side, seed=seed).to(images.device):
        part = images * square  # (b, ch, H, W)
        drops.append(whole - probability(images - part))  # (b)
        predictions.append((part.sum(1) * maps / ch).flatten(1).sum(1))  # (b)
    drop, prediction = (torch.stack(values, 1).cpu().double() for values in (drops, predictions))  # (b, samples)
    scale = (prediction * drop).mean(1) / prediction.square().mean(1).clamp_min(torch.finfo(torch.float64).tiny)  # (b)
    return (scale[:, None] * prediction - drop).square().mean(1).float()  # (b)


def infidelity_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``infidelity`` of a batch."""
    settings = batch.settings
    return {
        "infidelity": infidelity(
            batch.logits, batch.images, batch.large, batch.classes, samples=settings.infidelity_samples,
            side=settings.infidelity_side, seed=settings.seed, batch_size=batch.batch_size,
        )
    }  # fmt: skip

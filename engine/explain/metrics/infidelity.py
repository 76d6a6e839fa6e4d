"""Infidelity (Yeh et al., NeurIPS 2019): how well a map predicts what removing a part of the picture does."""

import torch
from torch import Tensor

from engine.explain.interface import Logits
from engine.explain.metrics.batch import MapBatch


@torch.no_grad()
def infidelity(
    logits: Logits, images: Tensor, maps: Tensor, classes: Tensor, *, samples: int = 50, side: float = 0.25,
    seed: int = 0, batch_size: int = 64,
) -> Tensor:  # fmt: skip
    """How far the map is from telling what removing a part does to the probability of the class.

    The mean over random squares of ``(I . map - (f(x) - f(x - I)))^2``, where I is the picture inside the square and
    zero outside (the square removal of Yeh et al.) and f the probability. As in their paper the map is first given
    the scale that makes this least, since the scales of methods do not compare.

    Args:
        logits: the model.
        images: (b, ch, H, W), normalised.
        maps: (b, H, W); each of the ch channels of a pixel gets its ch-th part.
        classes: (b).
        samples: squares.
        side: of a square, as a share of the shorter side of the picture.
        seed: of the places of the squares.
        batch_size: pictures of one forward.

    Returns:
        (b); less is better. The variance of f over the squares for a map that says nothing.
    """
    return scaled_infidelity(
        logits, images, maps, classes, squares(images.shape[-2:], samples=samples, side=side, seed=seed),
        batch_size=batch_size,
    )  # fmt: skip


def squares(size: tuple[int, int] | torch.Size, *, samples: int, side: float, seed: int) -> Tensor:
    """(samples, H, W) bool: random squares of a share of the shorter side, wholly in the picture."""
    height, width = size
    length = max(1, round(side * min(height, width)))
    generator = torch.Generator().manual_seed(seed)
    top = torch.randint(height - length + 1, (samples, 1, 1), generator=generator)
    left = torch.randint(width - length + 1, (samples, 1, 1), generator=generator)
    rows, columns = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    return (rows >= top) & (rows < top + length) & (columns >= left) & (columns < left + length)


def scaled_infidelity(
    logits: Logits, images: Tensor, maps: Tensor, classes: Tensor, removed: Tensor, *, batch_size: int
) -> Tensor:
    """:func:`infidelity` for given removals, (m, H, W) bool."""
    b, ch = images.shape[:2]
    removed = removed.to(images.device)

    def probability(pictures: Tensor, of: Tensor) -> Tensor:
        parts = [
            logits(p).float().softmax(1).gather(1, c[:, None])[:, 0]
            for p, c in zip(pictures.split(batch_size), of.split(batch_size), strict=True)
        ]
        return torch.cat(parts)

    whole = probability(images, classes)  # (b)
    drops, promised = [], []
    for mask in removed:  # all pictures of the batch at once
        part = images * mask  # (b, ch, H, W)
        drops.append(whole - probability(images - part, classes))  # (b)
        promised.append((part.sum(1) * maps / ch).flatten(1).sum(1))  # (b)
    change, promise = torch.stack(drops, 1).double(), torch.stack(promised, 1).double()  # (b, m)
    scale = (promise * change).mean(1) / promise.square().mean(1).clamp_min(torch.finfo(torch.float64).tiny)  # (b)
    return (scale[:, None] * promise - change).square().mean(1).float().view(b)


def infidelity_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``infidelity`` of a batch."""
    settings = batch.settings
    return {
        "infidelity": infidelity(
            batch.logits, batch.images, batch.large, batch.classes, samples=settings.infidelity_samples,
            side=settings.infidelity_side, seed=settings.seed, batch_size=batch.batch_size,
        )
    }  # fmt: skip

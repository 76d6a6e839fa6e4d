"""How good a map is: does it lie on the object, and does the model's answer hang on what it marks?

Precision as in section 4.1 of the paper; the pointing game (Zhang et al. 2018); insertion and deletion (Petsiuk et
al. 2018); infidelity and max-sensitivity (Yeh et al. 2019). All are of one class for each picture, batched over
pictures and perturbations. Pictures are always the normalised ones that the model takes, so that zero is the mean
colour. Random draws are the same for each picture: a score does not depend on the batch that the picture is in.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

Logits = Callable[[Tensor], Tensor]
"""(b, ch, H, W) normalised pictures -> (b, c)."""
Explainer = Callable[[Tensor, Tensor], Tensor]
"""(images (b, ch, H, W) normalised, targets (b, t)) -> maps (b, t, h, w): t classes at once for each picture."""


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(b, h, w) maps to (b, H, W), bilinear."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def on_object(maps: Tensor, boxes: Sequence[Tensor]) -> dict[str, Tensor]:
    """What share of each map lies on the object.

    Args:
        maps: (b, H, W) at the size of the picture; what is below zero counts as zero.
        boxes: for each picture (m, 4), m at least 1: left, top, right, bottom in pixels of the resized picture.

    Returns:
        (b) each: ``precision``, the share of the mass in the box that holds most of it; ``energy``, the share in
        all boxes together; ``pointing``, 1 where the highest place is in a box. A map of nothing but zeros has 0.
    """
    maps = maps.clamp_min(0)
    _, height, width = maps.shape
    rows = torch.arange(height, device=maps.device) + 0.5  # centres of the pixels
    columns = torch.arange(width, device=maps.device) + 0.5
    figures: dict[str, list[Tensor]] = {"precision": [], "pointing": [], "energy": []}
    for picture, own in zip(maps, boxes, strict=True):
        left, top, right, bottom = own.to(maps).T[:, :, None]  # (m, 1) each
        inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None]
        mass = picture.sum().clamp_min(torch.finfo(maps.dtype).tiny)
        union = inside.any(0)  # (H, W)
        figures["precision"].append((picture * inside).sum((1, 2)).max() / mass)  # inside: (m, H, W)
        figures["energy"].append((picture * union).sum() / mass)
        highest = union.flatten()[picture.argmax()] & (picture.max() > 0)
        figures["pointing"].append(highest.to(maps.dtype))
    return {name: torch.stack(values) for name, values in figures.items()}


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (b, ch, H, W); the kernel holds three deviations, and less than a picture."""
    reach = min(round(3 * sigma), min(images.shape[-2:]) - 1)
    return gaussian_blur(images, [2 * reach + 1] * 2, [sigma] * 2)


@torch.no_grad()
def replacing(
    logits: Logits,
    images: Tensor,
    start: Tensor,
    end: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    steps: int,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Probability of classes while pixels of ``start`` give way to those of ``end``, highest of the map first.

    Args:
        logits: the model.
        images: (b, ch, H, W), for the shape alone.
        start: (b, ch, H, W) picture to begin with; for deletion the picture itself.
        end: (b, ch, H, W) picture to end with; for insertion the picture itself.
        maps: (b, H, W); equal places are taken in reading order.
        classes: (b, q) classes whose probability is wanted.
        steps: equal shares of the pixels.
        batch_size: pictures of one forward.

    Returns:
        fractions (steps + 1) of the pixels replaced, and probabilities (b, q, steps + 1).
    """
    b, _, height, width = images.shape
    n = height * width
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)  # (b, n)
    ranks = order.argsort(dim=1).view(b, 1, height, width)
    counts = torch.linspace(0, n, steps + 1, dtype=torch.float64).round().long().to(images.device)  # (steps + 1)
    jobs = torch.cartesian_prod(torch.arange(b), torch.arange(steps + 1)).to(images.device)  # (b * (steps + 1), 2)
    found = []
    for chunk in jobs.split(batch_size):
        picture, step = chunk.T
        given = ranks[picture] < counts[step].view(-1, 1, 1, 1)  # (chunk, 1, H, W)
        mixed = torch.where(given, end[picture], start[picture])  # (chunk, ch, H, W)
        found.append(logits(mixed).float().softmax(1).gather(1, classes[picture]))  # (chunk, q)
    probabilities = torch.cat(found).view(b, steps + 1, -1).transpose(1, 2)  # (b, q, steps + 1)
    return counts / n, probabilities


def insertion_deletion(
    logits: Logits, images: Tensor, maps: Tensor, classes: Tensor, *, steps: int = 100, sigma: float = 5.0,
    batch_size: int = 64,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Areas under the curves of insertion into the blurred picture and of deletion to the mean colour.

    Args:
        logits: the model.
        images: (b, ch, H, W), normalised.
        maps: (b, H, W).
        classes: (b, q) classes whose probability is followed.
        steps: of the pixels; 100 are one percent each.
        sigma: of the blur that insertion starts from, in pixels; 5 in Petsiuk et al. for 224 pixels.
        batch_size: pictures of one forward.

    Returns:
        (b, q) insertion, where more is better, and (b, q) deletion, where less is.
    """
    areas = []
    for start, end in ((blurred(images, sigma), images), (images, torch.zeros_like(images))):
        fractions, probabilities = replacing(
            logits, images, start, end, maps, classes, steps=steps, batch_size=batch_size
        )
        areas.append(torch.trapezoid(probabilities, fractions.to(probabilities), dim=2))
    return areas[0], areas[1]


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


def max_sensitivity(
    explainer: Explainer, images: Tensor, classes: Tensor, *, samples: int = 10, radius: float = 0.02, seed: int = 0
) -> Tensor:
    """The largest relative change of the map when every pixel is moved a little at random.

    Args:
        explainer: the method.
        images: (b, ch, H, W), normalised.
        classes: (b).
        samples: random changes.
        radius: of the change of each value, uniform, in units of the normalised picture.
        seed: of the changes.

    Returns:
        (b): max over the changes of ``|map(x + d) - map(x)| / |map(x)|`` (Frobenius norms; maps below zero cut);
        less is better. Where the map is nothing but zeros the change itself, as captum has it.
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


def bootstrap_interval(
    values: Sequence[float], *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979) of the mean over pictures."""
    sample = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack([
        sample[torch.randint(len(sample), (len(sample),), generator=generator)].mean() for _ in range(resamples)
    ])  # fmt: skip
    low, high = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return low, high

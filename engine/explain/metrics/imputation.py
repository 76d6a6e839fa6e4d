"""Noisy linear imputation of removed pixels (Rong et al., ICML 2022, section 5.2).

Each removed pixel is the weighted mean of its eight neighbours, of which others may be removed, too: a system of linear
equations with one unknown for each removed pixel. It is symmetric and positive definite, so that conjugate gradients
solve it for a whole batch at a time.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

DIRECT, DIAGONAL = 1 / 6, 1 / 12  # weights of the neighbours
TOLERANCE = 1e-3  # in units of the normalised picture: the mean error in wide holes, a tenth of the usual noise
MAX_ITERATIONS = 1000


def neighbour_sum(images: Tensor) -> Tensor:
    """Weighted sum (b, ch, H, W) of the eight neighbours of each pixel; those outside of the picture count zero."""
    rows = [[DIAGONAL, DIRECT, DIAGONAL], [DIRECT, 0, DIRECT], [DIAGONAL, DIRECT, DIAGONAL]]
    kernel = torch.tensor(rows, dtype=images.dtype, device=images.device)[None, None]
    return F.conv2d(images.flatten(0, 1)[:, None], kernel, padding=1).view_as(images)


def coarse_fill(images: Tensor, removed: Tensor) -> Tensor:
    """Fill removed pixels (b, 1, H, W) of pictures (b, ch, H, W) from coarser pictures of the pixels that are left.

    This is where the solver starts: conjugate gradients are slow in wide holes alone.
    """
    known = (~removed).to(images.dtype)
    size = images.shape[-2:]
    filled = images * known
    if min(size) > 1 and bool(removed.any()):
        weight = F.avg_pool2d(known, 2, ceil_mode=True)
        means = F.avg_pool2d(filled, 2, ceil_mode=True) / weight.clamp_min(torch.finfo(weight.dtype).tiny)
        coarse = coarse_fill(means, weight == 0)
        filled = torch.where(removed, F.interpolate(coarse, size, mode="bilinear", align_corners=False), images)
    return filled


@torch.no_grad()
def impute(images: Tensor, removed: Tensor, *, noise: float, seed: int) -> Tensor:
    """Replace removed pixels by what their neighbours predict, plus noise.

    Args:
        images: (b, ch, H, W), normalised.
        removed: (b, H, W) bool; at least one pixel of each picture must be left, else all of it becomes zero.
        noise: standard deviation of the noise, without which the imputed pixels would be recognised as too smooth.
        seed: seed of the noise, the same for each picture.

    Returns:
        (b, ch, H, W).
    """
    with torch.autocast(images.device.type, enabled=False):  # a solver in half precision would not converge
        filled = _solve(images, removed)
    generator = torch.Generator().manual_seed(seed)
    grain = torch.randn(images.shape[1:], generator=generator).to(images) * noise  # (ch, H, W)
    return torch.where(removed[:, None], filled + grain, images)


def _solve(images: Tensor, removed: Tensor) -> Tensor:
    """Pictures (b, ch, H, W) whose removed pixels (b, H, W) are the means of their neighbours."""
    holes = removed[:, None]  # (b, 1, H, W)
    inside = holes.to(images.dtype)
    total = neighbour_sum(torch.ones_like(images[:1, :1]))  # (1, 1, H, W), less than 1 at the border
    x = torch.where(removed.flatten(1).all(1).view(-1, 1, 1, 1), 0.0, coarse_fill(images, holes))

    def dot(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum((2, 3), keepdim=True)  # (b, ch, 1, 1)

    residual = inside * (neighbour_sum(x) - total * x)  # (b, ch, H, W)
    direction = scaled = residual / total
    product = dot(residual, scaled)
    tiny = torch.finfo(images.dtype).tiny
    for _ in range(MAX_ITERATIONS):
        if float(residual.abs().max()) < TOLERANCE * DIAGONAL:
            break
        image = inside * (total * direction - neighbour_sum(direction))
        step = product / dot(direction, image).clamp_min(tiny)
        x, residual = x + step * direction, residual - step * image
        scaled = residual / total
        before, product = product, dot(residual, scaled)
        direction = scaled + product / before.clamp_min(tiny) * direction
    return x

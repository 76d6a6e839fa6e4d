"""I-GOS: the coarse blur mask that lowers the probability most (Qi, Khorram and Fuxin, AAAI 2020, section 3).

The objective (eq. 9) is the probability of the masked picture, plus an L1 term that keeps the mask near 1, plus the
bilateral total variation. The descent direction is the integrated gradient from the fully blurred picture, that is,
the gradient of the mean probability along that line; backtracking finds the step size (eq. 8).
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, each_pair
from engine.explain.blur import blur
from engine.explain.interface import Explainer

BETA = 1e-4  # constant of the sufficient decrease, section 4
# Values of the authors' code (khorrams/IGOS_pp, methods.py and methods_helper.py).
L1, TV = 1.0, 20.0  # weights of the two terms, which are means over the mask
EDGE = 1.0  # squared pixel difference, in normalised units, that lowers the weight of a mask difference to 1/e
NOISE = 0.2  # standard deviation of the noise added to the pictures on the line
LONGEST_STEP, STEP_FACTOR, SHORTEST_STEP = 8.0, 0.2, 1e-5  # step sizes of the backtracking
BLUR = 20 / 224  # sigma of the blurred picture, relative to its longer side, as in extremal perturbation

Objective = Callable[[Tensor, Tensor], Tensor]


def edge_weights(pictures: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Weights of a mask's vertical (p, 1, h-1, w) and horizontal (p, 1, h, w-1) differences: small at picture edges."""
    small = F.adaptive_avg_pool2d(pictures, grid)  # (p, ch, h, w)
    down, right = (small.diff(dim=dim).square().mean(1, keepdim=True) for dim in (2, 3))
    return torch.exp(-down / EDGE), torch.exp(-right / EDGE)


def regulariser(masks: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    """Sum (p) of the L1 term and the bilateral total variation of masks (p, 1, h, w)."""
    variation = [
        (weight * masks.diff(dim=dim).square()).flatten(1).mean(1) for dim, weight in zip((2, 3), weights, strict=True)
    ]
    return L1 * (1 - masks).abs().flatten(1).mean(1) + TV * (variation[0] + variation[1])


def backtrack(masks: Tensor, direction: Tensor, start: Tensor, objective: Objective) -> Tensor:
    """Move each mask against its direction by the longest step that lowers its objective enough (eq. 8).

    Args:
        masks: (p, 1, h, w).
        direction: (p, 1, h, w), the gradient.
        start: (p), the objective at the masks.
        objective: maps some of the masks and their indices to their objectives.
    """
    result = masks.clone()
    waiting = torch.arange(len(masks), device=masks.device)  # masks that have not moved yet
    slope = BETA * direction.square().flatten(1).sum(1)  # (p)
    step = LONGEST_STEP
    while step >= SHORTEST_STEP and len(waiting):
        tried = (masks[waiting] - step * direction[waiting]).clamp(0, 1)
        enough = objective(tried, waiting) <= start[waiting] - step * slope[waiting]
        result[waiting[enough]] = tried[enough]
        waiting = waiting[~enough]
        step *= STEP_FACTOR
    return result


def build_igos(model: SplitModel, options: MethodSettings, seed: int) -> Explainer:
    """Build I-GOS: a map 1 - mask for each picture and class, at the mask's resolution."""
    points = options.igos_ig_steps

    def optimise(pictures: Tensor, classes: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        size = (pictures.shape[2], pictures.shape[3])
        grid = (min(options.igos_cells, size[0]), min(options.igos_cells, size[1]))
        blurred = blur(pictures, BLUR * max(size))
        edges = edge_weights(pictures, grid)
        shares = (torch.arange(1, points + 1) / points).to(pictures).view(-1, 1, 1, 1)
        masks = torch.ones(len(pictures), 1, *grid).to(pictures)

        def line(noise: Tensor, masks: Tensor, index: Tensor) -> Tensor:
            large = F.interpolate(masks, size, mode="bilinear", align_corners=False)[:, None] * shares
            between = blurred[index, None] + large * (pictures - blurred)[index, None] + noise  # (p, points, ch, H, W)
            probabilities = model(between.flatten(0, 1)).softmax(1).unflatten(0, (-1, points))  # (p, points, c)
            mean = probabilities.mean(1).gather(1, classes[index, None])[:, 0]  # (p)
            return mean + regulariser(masks, (edges[0][index], edges[1][index]))

        everyone = torch.arange(len(pictures), device=pictures.device)
        for _ in range(options.igos_steps):
            # The same noise for all pictures, and throughout a line search, which needs a fixed objective.
            noise = NOISE * torch.randn(points, *pictures.shape[1:], generator=generator).to(pictures)
            objective = functools.partial(line, noise)
            masks.requires_grad_()
            start = objective(masks, everyone)
            direction = torch.autograd.grad(start.sum(), masks)[0]
            with torch.no_grad():
                masks = backtrack(masks.detach(), direction, start.detach(), objective)
        return 1 - masks[:, 0]  # (p, h, w)

    return lambda images, targets: each_pair(optimise, images, targets, max(1, options.batch_size // points))

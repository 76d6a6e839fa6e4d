"""Extremal perturbation: the smooth mask of a given area that keeps the score highest (Fong et al., ICCV 2019).

Section 3: the area constraint, the pyramid of blurs and the smooth masks; preservation game. The authors' optimisation:
SGD with momentum and dampening, the area's weight growing by a factor at each step.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import Explainer, SplitModel, each_pair
from engine.explain.blur import blur

# Of the authors' code (TorchRay, attribution/extremal_perturbation.py), lengths relative to its pictures of 224 pixels.
LEVELS = 8  # of the pyramid
MAX_BLUR = 20 / 224  # sigma of its last level
SIGMA = 3.0  # of the mask's kernel in cells: 21 of 7 pixels
COLDNESS = 20.0  # 1/T of the smooth maximum
STEPS, RATE, MOMENTUM = 800, 0.01, 0.9
AREA_WEIGHT, GROWTH = 300.0, 1.0035
JITTER = 1e-3


def pyramid(images: Tensor) -> Tensor:
    """(p, LEVELS, ch, H, W): from the strongest blur to the picture itself."""
    sigmas = torch.linspace(MAX_BLUR, 0, LEVELS) * max(images.shape[2:])
    return torch.stack([blur(images, float(sigma)) for sigma in sigmas], 1)


def perturb(levels: Tensor, masks: Tensor) -> Tensor:
    """(p, ch, H, W): the picture where the (p, 1, H, W) mask is 1, blurred the more the nearer it is to 0."""
    place = masks * (levels.shape[1] - 1)
    lower = place.detach().floor().clamp(max=levels.shape[1] - 2)
    share = place - lower
    index = lower.long()[:, None].expand(-1, -1, *levels.shape[2:])  # (p, 1, ch, H, W)
    return (1 - share) * levels.gather(1, index)[:, 0] + share * levels.gather(1, index + 1)[:, 0]


def smooth_masks(cells: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Masks (p, 1, H, W) of the picture, and beyond its borders, out of (p, 1, h, w) parameters.

    The mask is the smooth maximum of a kernel at each cell. It is taken at the cells and made larger bilinearly, where
    the paper takes it at each pixel; the kernel is three cells wide, so that little lies between them.

    Beyond the borders it goes on by the width of the kernel: what a cell at the border does there counts for the area,
    as in the authors' code, for else cells at the border would be cheaper than others.
    """
    radius, margin = int(2 * SIGMA), round(SIGMA)
    offset = torch.arange(-radius, radius + 1, device=cells.device, dtype=cells.dtype)
    distance = torch.hypot(offset[:, None], offset) / SIGMA
    kernel = torch.exp(-2 * (distance - 0.5).clamp(min=0) ** 2).flatten()[:, None]
    near = kernel * F.unfold(cells, 2 * radius + 1, padding=radius + margin)  # (p, neighbours, places)
    grid = [side + 2 * margin for side in cells.shape[2:]]
    peaks = (near * (COLDNESS * near).softmax(1)).sum(1).unflatten(1, (1, *grid))
    pixels = [side / n for side, n in zip(size, cells.shape[2:], strict=True)]
    whole = F.interpolate(peaks, [round(n * p) for n, p in zip(grid, pixels, strict=True)], mode="bilinear").clamp(0, 1)
    top, left = (round(margin * p) for p in pixels)
    return whole[:, :, top : top + size[0], left : left + size[1]], whole


def area_penalty(masks: Tensor, kept: float, jitter: Tensor) -> Tensor:
    """(p): mean square between the sorted mask and the one that keeps ``kept`` pixels and no other.

    Args:
        masks: (p, 1, height, width).
        kept: how many pixels are to be 1.
        jitter: (height * width) small numbers by which equal values are put in order. A mask begins flat, and a sort
            that leaves equal values in their order would keep the bottom of every picture.
    """
    flat = masks.flatten(1)
    order = (flat.detach() + jitter).argsort(1)
    template = torch.zeros_like(jitter)
    template[len(template) - round(kept) :] = 1
    return (flat.gather(1, order) - template).square().mean(1)


def build_extremal(model: SplitModel, options: MethodSettings, seed: int) -> Explainer:
    """Extremal perturbation at the picture's resolution; each pair of a picture and a class has a mask of its own."""
    # Fewer steps than the authors' are longer ones, and the weight grows as much over all of them.
    stretch = STEPS / options.extremal_steps
    rate, growth = RATE * stretch, GROWTH**stretch

    def optimise(pictures: Tensor, classes: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        size = (pictures.shape[2], pictures.shape[3])
        levels = pyramid(pictures)
        cell = max(size) / options.extremal_cells
        cells = torch.ones(len(pictures), 1, *[max(2, round(side / cell)) for side in size]).to(pictures)
        cells.requires_grad_()
        optimiser = torch.optim.SGD([cells], lr=rate, momentum=MOMENTUM, dampening=MOMENTUM)
        weight, kept = AREA_WEIGHT, options.extremal_area * size[0] * size[1]
        for _ in range(options.extremal_steps):
            masks, whole = smooth_masks(cells, size)  # (p, 1, H, W) and larger
            reward = model(perturb(levels, masks)).gather(1, classes[:, None]).sum()
            jitter = torch.rand(whole[0].numel(), generator=generator).to(whole) * JITTER
            optimiser.zero_grad()
            (weight * area_penalty(whole, kept, jitter).sum() - reward).backward()
            optimiser.step()
            cells.data.clamp_(0, 1)
            weight *= growth
        return smooth_masks(cells.detach(), size)[0][:, 0]  # (p, H, W)

    return lambda images, targets: each_pair(optimise, images, targets, options.batch_size)

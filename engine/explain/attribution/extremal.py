"""Extremal perturbation: the smooth mask of a given area that keeps the logit highest (Fong et al., ICCV 2019).

Section 3: area constraint, pyramid of blurs, smooth masks; preservation game. Optimised as in the authors' code: SGD
with momentum and dampening, while the weight of the area penalty grows by a factor in each step; but the picture is not
flipped in every second step, and the kernel of the masks is not cut at four cells.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, each_pair
from engine.explain.blur import blur
from engine.explain.interface import Explainer

# Values of the authors' code (TorchRay, attribution/extremal_perturbation.py); its pictures have 224 pixels a side.
LEVELS = 8  # levels of the pyramid
MAX_BLUR = 20 / 224  # sigma of the strongest blur, relative to the longer side
SIGMA = 3.0  # sigma of the mask's kernel, in cells of 7 pixels
SHARPNESS = 20.0  # sharpness of the smooth maximum, 1/T in the paper
STEPS, RATE, MOMENTUM = 800, 0.01, 0.9
AREA_WEIGHT, GROWTH = 300.0, 1.0035

JITTER = 1e-3  # of our own: decides between equal numbers when they are sorted


def pyramid(images: Tensor) -> Tensor:
    """Blurred copies (p, LEVELS, ch, H, W) of pictures, from the strongest blur to the picture itself."""
    sigmas = torch.linspace(MAX_BLUR, 0, LEVELS) * max(images.shape[2:])
    return torch.stack([blur(images, float(sigma)) for sigma in sigmas], 1)


def perturb(levels: Tensor, masks: Tensor) -> Tensor:
    """Pictures (p, ch, H, W), sharp where the mask (p, 1, H, W) is 1, with increasing blur towards 0."""
    position = masks * (levels.shape[1] - 1)  # between two levels
    lower = position.detach().floor().clamp(max=levels.shape[1] - 2)
    share = position - lower
    index = lower.long()[:, None].expand(-1, -1, *levels.shape[2:])  # (p, 1, ch, H, W)
    return (1 - share) * levels.gather(1, index)[:, 0] + share * levels.gather(1, index + 1)[:, 0]


def smooth_masks(cells: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Make masks from parameters (p, 1, h, w): (p, 1, H, W) for the picture, and larger ones with a margin around it.

    The mask is the smooth maximum of the kernels of all cells. It is computed at the cells and upsampled bilinearly,
    where the paper computes it at each pixel; the kernel's sigma is three cells, so the difference is small.

    The margin around the picture is as wide as sigma. As in the authors' code, the area includes it, since cells at
    the border would otherwise cost less area than others.
    """
    radius, margin = int(2 * SIGMA), round(SIGMA)
    offset = torch.arange(-radius, radius + 1, device=cells.device, dtype=cells.dtype)
    distance = torch.hypot(offset[:, None], offset) / SIGMA
    kernel = torch.exp(-2 * (distance - 0.5).clamp(min=0) ** 2).flatten()[:, None]
    near = kernel * F.unfold(cells, 2 * radius + 1, padding=radius + margin)  # (p, neighbours, places)
    grid = [side + 2 * margin for side in cells.shape[2:]]
    peaks = (near * (SHARPNESS * near).softmax(1)).sum(1).unflatten(1, (1, *grid))
    pixels = [side / n for side, n in zip(size, cells.shape[2:], strict=True)]
    whole = F.interpolate(peaks, [round(n * p) for n, p in zip(grid, pixels, strict=True)], mode="bilinear").clamp(0, 1)
    top, left = (round(margin * p) for p in pixels)
    return whole[:, :, top : top + size[0], left : left + size[1]], whole


def area_penalty(masks: Tensor, kept: float, jitter: Tensor) -> Tensor:
    """Mean square (p) of the difference between the sorted mask and a mask with ``kept`` ones and zeros elsewhere.

    Args:
        masks: (p, 1, height, width).
        kept: desired number of pixels that are 1.
        jitter: (height * width), small numbers that break ties between equal values. A mask starts constant, and a
            stable sort would keep the bottom of every picture.
    """
    flat = masks.flatten(1)
    order = (flat.detach() + jitter).argsort(1)
    template = torch.zeros_like(jitter)
    template[len(template) - round(kept) :] = 1
    return (flat.gather(1, order) - template).square().mean(1)


def build_extremal(model: SplitModel, options: MethodSettings, seed: int) -> Explainer:
    """Build extremal perturbation: a mask for each picture and class, at the picture's resolution."""
    # With fewer steps than the authors' code, each is larger, and the weight grows as much in total.
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

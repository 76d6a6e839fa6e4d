"""RISE: mean of random masks, weighted by the masked picture's probability (Petsiuk et al., BMVC 2018, section 3)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer


class Masks:
    """Smooth random masks (count, H, W) from 0 to 1, with mean p, upsampled on demand (section 3.2).

    Cells are kept with probability ``p``, upsampled bilinearly to one cell more than the picture needs, and cropped at
    a random position. A cell has H/grid pixels, rounded up (rounding down, as in the paper, leaves pixels unmasked).
    """

    def __init__(self, count: int, *, grid: int, p: float, size: tuple[int, int], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        cells = [min(grid, side) for side in size]
        pixels = [math.ceil(side / n) for side, n in zip(size, cells, strict=True)]
        self.size = size
        self.whole = [(n + 1) * pixel for n, pixel in zip(cells, pixels, strict=True)]
        self.cells = (torch.rand(count, 1, *cells, generator=generator) < p).float()
        self.corners = torch.stack([torch.randint(pixel, (count,), generator=generator) for pixel in pixels], 1)

    def __getitem__(self, part: slice) -> Tensor:
        """Masks (m, H, W) of a slice."""
        large = F.interpolate(self.cells[part], self.whole, mode="bilinear", align_corners=False)[:, 0]
        h, w = self.size
        corners = self.corners[part].tolist()
        return torch.stack([mask[y : y + h, x : x + w] for mask, (y, x) in zip(large, corners, strict=True)])


def build_rise(model: SplitModel, options: MethodSettings, seed: int) -> Explainer:
    """Build RISE: the same masks for every picture, one forward pass for all classes, one chunk of masks at a time."""
    count, p = options.rise_masks, options.rise_p

    @torch.no_grad()
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        size = (images.shape[2], images.shape[3])
        every = Masks(count, grid=options.rise_grid, p=p, size=size, seed=seed)
        maps = images.new_zeros(*targets.shape, *size)  # (b, t, H, W)
        for start in range(0, count, options.batch_size):
            masks = every[start : start + options.batch_size].to(images)  # (m, H, W)
            for image, classes, total in zip(images, targets, maps, strict=True):
                probabilities = model(masks[:, None] * image).softmax(1)[:, classes]  # (m, t)
                total += torch.einsum("mt,mhw->thw", probabilities, masks)
        return maps / (count * p)

    return explain

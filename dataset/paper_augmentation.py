"""Augmentation of the published code (``--aug paper``), with its distribution.

Four steps, each with probability 0.5 and in random order: flips along both axes, an affine map, a blur. The published
code draws the numbers and hands them to imgaug 0.4.0, whose conventions are kept: scaling of each axis, then rotation,
then translation, about the centre of the picture; black outside; bilinear.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))


class PaperAffine(v2.Transform):
    """Affine map whose axes are scaled apart, and which shifts to the right only, never to the left.

    Rotation: a whole number of degrees from -10 to 9, clockwise. Scale of each axis: 0.8 to 1. Translation: 0 to 10 %
    of the width to the right, and up to 10 % of the height up or down.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, float]:
        """Draw the numbers of one picture; called by torchvision."""
        return {
            "rotate": int(torch.randint(-10, 10, ())),
            "scale_x": _uniform(0.8, 1), "scale_y": _uniform(0.8, 1),
            "translate_x": _uniform(0, 0.1), "translate_y": _uniform(-0.1, 0.1),
        }  # fmt: skip

    def transform(self, inpt: Tensor, params: dict[str, float]) -> Tensor:
        """Map a picture (ch, H, W) uint8; called by torchvision."""
        height, width = inpt.shape[-2:]
        angle = math.radians(params["rotate"])
        cos, sin = math.cos(angle), math.sin(angle)
        # In pixels from the centre, y downwards, a point p goes to R S p + t, so a place q shows S^-1 R^T (q - t).
        x, y = params["translate_x"] * width, params["translate_y"] * height
        rows = []
        for a, b, scale, half in ((cos, sin, params["scale_x"], width / 2), (-sin, cos, params["scale_y"], height / 2)):
            row = [a * width / 2, b * height / 2, -(a * x + b * y)]
            rows.append([value / scale / half for value in row])  # in halves of the picture, as grid_sample wants it
        grid = functional.affine_grid(torch.tensor([rows]), [1, 1, height, width], align_corners=False)
        moved = functional.grid_sample(inpt[None].float(), grid, mode="bilinear", align_corners=False)
        return moved[0].round_().to(inpt.dtype)


class PaperBlur(v2.Transform):
    """Gaussian blur with a sigma of 0 to 3 pixels, and the short kernel that imgaug chooses for it."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, float]:
        """Draw the sigma of one picture; called by torchvision."""
        return {"sigma": _uniform(0, 3)}

    def transform(self, inpt: Tensor, params: dict[str, float]) -> Tensor:
        """Blur a picture (ch, H, W) uint8; called by torchvision."""
        sigma = params["sigma"]
        if sigma <= 1e-3:
            return inpt
        size = int(max(3.3 * sigma, 5)) // 2 * 2 + 1  # odd
        width, height = (min(size, 2 * side - 1) for side in (inpt.shape[-1], inpt.shape[-2]))
        rows = F.gaussian_blur(inpt.float(), [width, 1], [sigma, sigma])
        return F.gaussian_blur(rows, [1, height], [sigma, sigma]).round_().to(inpt.dtype)


def paper_augmentation() -> v2.Transform:
    """Build the random transform of single pictures (ch, H, W) uint8."""
    return v2.RandomOrder([
        v2.RandomHorizontalFlip(0.5),
        v2.RandomVerticalFlip(0.5),
        v2.RandomApply([PaperAffine()]),
        v2.RandomApply([PaperBlur()]),
    ])  # fmt: skip

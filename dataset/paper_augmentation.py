"""Augmentation of the published code (``--aug true``), with its distribution.

Four steps, each with probability 0.5 and in random order: flips along both axes, an affine map, a blur. The published
code draws the numbers and hands them to imgaug 0.4.0, whose conventions are kept: scaling of each axis, then rotation,
then translation, about the centre of the picture; black outside; bilinear.
"""

import torch
from torch import Tensor

from dataset.affine import affine_map
from dataset.blur import gaussian_blur
from dataset.random_steps import RandomSteps, flip_left_right, flip_top_bottom, uniform


def draw_affine() -> dict[str, float]:
    """Draw the numbers of an affine map whose axes are scaled apart, and which shifts to the right only.

    Rotation: a whole number of degrees from -10 to 9, clockwise. Scale of each axis: 0.8 to 1. Translation: 0 to 10 %
    of the width to the right, and up to 10 % of the height up or down.
    """
    return {
        "rotate": int(torch.randint(-10, 10, ())),
        "scale_x": uniform(0.8, 1), "scale_y": uniform(0.8, 1),
        "translate_x": uniform(0, 0.1), "translate_y": uniform(-0.1, 0.1),
    }  # fmt: skip


def paper_affine(pixels: Tensor, params: dict[str, float]) -> Tensor:
    """Map a picture (ch, H, W) by the numbers of :func:`draw_affine`."""
    height, width = pixels.shape[-2:]
    return affine_map(
        pixels, angle=params["rotate"], scale=(params["scale_x"], params["scale_y"]),
        shift=(params["translate_x"] * width, params["translate_y"] * height),
    )  # fmt: skip


def draw_sigma() -> float:
    """Draw the sigma of a blur, 0 to 3 pixels."""
    return uniform(0, 3)


def paper_blur(pixels: Tensor, sigma: float) -> Tensor:
    """Blur a picture (ch, H, W) with the short kernel that imgaug chooses for a sigma."""
    if sigma <= 1e-3:
        return pixels
    return gaussian_blur(pixels, sigma=sigma, size=int(max(3.3 * sigma, 5)) // 2 * 2 + 1)


def random_affine(pixels: Tensor) -> Tensor:
    """Map a picture (ch, H, W) at random."""
    return paper_affine(pixels, draw_affine())


def random_blur(pixels: Tensor) -> Tensor:
    """Blur a picture (ch, H, W) at random."""
    return paper_blur(pixels, draw_sigma())


def paper_augmentation() -> RandomSteps:
    """Build the random transform of single pictures (ch, H, W) uint8."""
    return RandomSteps([flip_left_right, flip_top_bottom, random_affine, random_blur])

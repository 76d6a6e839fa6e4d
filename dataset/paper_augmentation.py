"""Augmentation of the published code (``--aug true``), with its distribution.

Four steps, each with probability 0.5 and in random order: flips along both axes, an affine map, a blur. The published
code draws the numbers and hands them to imgaug 0.4.0, whose conventions are kept: scaling of each axis, then rotation,
then translation, about the centre of the picture; black outside; bilinear.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dataset.affine import AffineMap
from dataset.blur import Blur
from dataset.changes import Change, changed
from dataset.random_state import uniform


def draw_affine() -> AffineMap:
    """Draw an affine map whose axes are scaled apart, and which shifts to the right only.

    Rotation: a whole number of degrees from -10 to 9, clockwise. Scale of each axis: 0.8 to 1. Translation: 0 to 10 %
    of the width to the right, and up to 10 % of the height up or down.
    """
    return AffineMap(
        angle=int(torch.randint(-10, 10, ())),
        scale=(uniform(0.8, 1), uniform(0.8, 1)),
        shift=(uniform(0, 0.1), uniform(-0.1, 0.1)),
    )


def draw_blur() -> Blur | None:
    """Draw a blur with a sigma of 0 to 3 pixels and the short kernel that imgaug chooses for it; None if it is 0."""
    sigma = uniform(0, 3)
    return Blur(sigma, int(max(3.3 * sigma, 5)) // 2 * 2 + 1) if sigma > 1e-3 else None


def draw_change() -> Change:
    """Draw the steps of a picture and their order."""
    change = Change()
    for number in torch.randperm(len(STEPS)).tolist():
        if float(torch.rand(())) < 0.5:
            change = STEPS[number](change)
    return change


STEPS: tuple[Callable[[Change], Change], ...] = (
    Change.then_flip_left_right,
    Change.then_flip_top_bottom,
    lambda change: change.then_map(draw_affine()),
    lambda change: change.then_blur(draw_blur()),
)


class PaperAugmentation:
    """Random transform of single pictures (ch, H, W) uint8, whose draw and application can be apart."""

    def draw(self) -> Change:
        """Draw a change from the global random state."""
        return draw_change()

    def __call__(self, pixels: Tensor) -> Tensor:
        """Change a picture at random."""
        values = changed(pixels, self.draw()).numpy()
        return torch.from_numpy(values.astype(np.uint8))  # several times as fast as by torch

"""Affine maps of pictures: rotation, scaling and translation about the centre, bilinear, black outside."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class AffineMap(NamedTuple):
    """Affine map of a picture: it is scaled, then rotated, then moved."""

    angle: float  # degrees, clockwise
    scale: tuple[float, float]  # factors (x, y) of the axes
    shift: tuple[float, float]  # to the right and down (x, y), as shares of the width and the height

    def mirrored(self, *, left_right: bool) -> "AffineMap":
        """Map that does to a flipped picture what this one does to the picture before it is flipped."""
        x, y = self.shift
        return AffineMap(-self.angle, self.scale, (-x, y) if left_right else (x, -y))


def affine_lines(maps: Sequence[AffineMap], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Compute where the rows and columns of mapped pictures (H, W) come from: (m, H) and (m, W) complex numbers.

    Their sums are the places of the pixels. A complex number is a place (x, y) in halves of the picture: adding a row
    and a column of them is ten times as fast as ``affine_grid``.
    """
    height, width = size
    steps = np.array([_steps(each, height, width) for each in maps], np.complex64)  # (m, 3)
    start, right, down = steps[:, :1], steps[:, 1:2], steps[:, 2:]  # (m, 1) each
    return torch.from_numpy(_from_centre(height) * down + start), torch.from_numpy(_from_centre(width) * right)


def affine_mapped(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Map pictures; the same result as torchvision's ``affine`` in less than half the time.

    Args:
        pixels: (m, ch, H, W), of any type, memory format and device.
        rows, columns: (m, H) and (m, W) complex numbers, see :func:`affine_lines`.

    Returns:
        (m, ch, H, W) float, rounded to whole numbers.
    """
    grid = torch.view_as_real(rows[:, :, None] + columns[:, None])  # (m, H, W, 2)
    return F.grid_sample(pixels.float(), grid, mode="bilinear", align_corners=False).round_()  # (m, ch, H, W)


def _steps(each: AffineMap, height: int, width: int) -> tuple[complex, complex, complex]:
    """Place that the centre of a mapped picture shows, and where it moves with one pixel to the right and one down.

    In pixels from the centre, y downwards, a point p goes to R S p + t, so a place q shows S^-1 R^T (q - t).
    """
    cos, sin = math.cos(math.radians(each.angle)), math.sin(math.radians(each.angle))
    x_unit, y_unit = 2 / (each.scale[0] * width), 2 / (each.scale[1] * height)  # as grid_sample wants it
    right, down = complex(cos * x_unit, -sin * y_unit), complex(sin * x_unit, cos * y_unit)
    return -(right * (each.shift[0] * width) + down * (each.shift[1] * height)), right, down


def _from_centre(size: int) -> np.ndarray:
    """Centres of the pixels of a row, in pixels from its middle."""
    return (np.arange(size) - (size - 1) / 2).astype(np.complex64)

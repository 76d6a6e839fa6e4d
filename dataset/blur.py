"""Gaussian blur of pictures as products with band matrices, several times as fast as a convolution on a CPU."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Places of a row that one product of matrices computes, about: more have more zeros to multiply with, and fewer make
# the matrices too small.
PLACES = 20


class Blur(NamedTuple):
    """Gaussian blur of a picture."""

    sigma: float  # standard deviation of the kernel in pixels, above 0
    size: int  # number of weights of the kernel, odd; along a short side only as many as reflection allows


def blur_bands(blurs: Sequence[Blur], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Build the matrices that blur the rows and the columns of m pictures (H, W).

    Row i of a matrix (places, places + 2 * reach) has the weights of the kernel from column i on, and zeros.

    Returns:
        (m, places, places + 2 * reach) float for rows of W places, and the same for columns of H places.
    """
    along_rows = _bands(blurs, size[1])
    return along_rows, along_rows if size[0] == size[1] else _bands(blurs, size[0])


def blurred(pixels: Tensor, along_rows: Tensor, along_columns: Tensor) -> Tensor:
    """Blur pictures along their rows and their columns; the same result as torchvision's ``gaussian_blur``.

    The pictures are continued by reflection.

    Args:
        pixels: (m, ch, H, W), of any type, memory format and device.
        along_rows, along_columns: matrices, see :func:`blur_bands`.

    Returns:
        (m, ch, H, W) float, rounded to whole numbers, in channels-last memory.
    """
    turned = _blur_and_turn(pixels, along_rows)  # (m, W, ch, H)
    return _blur_and_turn(turned, along_columns).round_().permute(0, 3, 1, 2)  # of (m, H, W, ch)


def _blur_and_turn(rows: Tensor, bands: Tensor) -> Tensor:
    """Blur rows (m, p, q, n) and turn them to (m, n, p, q) float, the cheapest order for a product of matrices."""
    length, places = rows.shape[3], bands.shape[1]
    reach, parts = (bands.shape[2] - places) // 2, -(-length // places)
    padded = _reflected(rows, reach, parts * places - length).flatten(1, 2)  # (m, p * q, parts * places + 2 * reach)
    windows = padded.unfold(2, places + 2 * reach, places).permute(0, 2, 3, 1)  # (m, parts, places + 2 * reach, p * q)
    bands = bands[:, None].expand(-1, parts, -1, -1)
    products = torch.bmm(bands.flatten(0, 1), windows.flatten(0, 1))  # (m * parts, places, p * q)
    return products.view(len(rows), parts * places, *rows.shape[1:3])[:, :length]  # (m, n, p, q)


def _reflected(rows: Tensor, reach: int, rest: int) -> Tensor:
    """Continue rows (..., n) by ``reach`` places on both sides, mirrored at the outermost place, and ``rest`` zeros."""
    end = reach + rows.shape[-1]
    padded = torch.empty(*rows.shape[:-1], end + reach + rest, device=rows.device)
    padded[..., reach:end] = rows
    padded[..., :reach] = padded[..., reach + 1 : 2 * reach + 1].flip(-1)
    padded[..., end : end + reach] = padded[..., end - reach - 1 : end - 1].flip(-1)
    padded[..., end + reach :] = 0
    return padded


def _bands(blurs: Sequence[Blur], length: int) -> Tensor:
    # Weights beyond five standard deviations are less than a millionth of the largest.
    reaches = [min(size // 2, math.ceil(5 * sigma), length - 1) for sigma, size in blurs]
    sigmas, reach, count = [sigma for sigma, _ in blurs], max(reaches), len(blurs)
    offsets = np.arange(-reach, reach + 1)
    kernels = np.exp(-np.square(offsets / np.array(sigmas)[:, None]) / 2)  # (m, 2 * reach + 1)
    kernels[np.abs(offsets) > np.array(reaches)[:, None]] = 0
    places = -(-length // max(1, round(length / PLACES)))
    bands = np.zeros((count, places, places + 2 * reach + 1), np.float32)
    bands[:, :, : 2 * reach + 1] = (kernels / kernels.sum(1, keepdims=True))[:, None]
    # Read as rows that are one place shorter, each begins one place later in its kernel.
    width = places + 2 * reach
    return torch.from_numpy(bands.reshape(count, -1)[:, : places * width].reshape(count, places, width))

"""Gaussian blur of pictures as products with band matrices, several times as fast as a convolution on a CPU."""

import math

import numpy as np
import torch
from torch import Tensor

# Places that one product computes. More have more zeros to multiply with, fewer need more calls.
PLACES = 32


def gaussian_blur(pixels: Tensor, *, sigma: float, size: int) -> Tensor:
    """Blur a picture along its rows and its columns; the same result as torchvision's ``gaussian_blur``.

    The picture is continued by reflection.

    Args:
        pixels: (ch, H, W), of any type and memory format, on the CPU.
        sigma: standard deviation of the kernel in pixels, above 0.
        size: number of weights of the kernel, odd; along a short side only as many as reflection allows.

    Returns:
        (ch, H, W) float, rounded to whole numbers, in channels-last memory.
    """
    channels, height, width = pixels.shape
    planes = np.ascontiguousarray(pixels.numpy())  # numpy converts memory formats and types faster than torch
    turned = _blur_and_turn(planes.reshape(channels * height, width), sigma, size)  # (W, ch * H)
    blurred = _blur_and_turn(turned.numpy().reshape(width * channels, height), sigma, size)  # (H, W * ch)
    return blurred.round_().view(height, width, channels).permute(2, 0, 1)


def _blur_and_turn(rows: np.ndarray, sigma: float, size: int) -> Tensor:
    """Blur rows (m, n) and turn them to columns (n, m) float, the cheapest order for a matrix product."""
    length = rows.shape[1]
    # Weights beyond five standard deviations are less than a millionth of the largest.
    reach = min(size // 2, math.ceil(5 * sigma), length - 1)
    padded, band = _reflected(rows, reach), _band(sigma, reach)
    turned = torch.empty(length, len(rows))
    for start in range(0, length, PLACES):
        count = min(PLACES, length - start)
        seen = count + 2 * reach
        torch.mm(band[:count, :seen], padded[:, start : start + seen].t(), out=turned[start : start + count])
    return turned


def _reflected(rows: np.ndarray, reach: int) -> Tensor:
    """Continue rows (m, n) by ``reach`` places on both sides, mirrored at the outermost place."""
    length = rows.shape[1]
    padded = np.empty((len(rows), length + 2 * reach), np.float32)
    padded[:, reach : reach + length] = rows
    last = reach + length - 1
    padded[:, :reach] = padded[:, 2 * reach : reach : -1]
    padded[:, last + 1 :] = padded[:, last - reach : last][:, ::-1]
    return torch.from_numpy(padded)


def _band(sigma: float, reach: int) -> Tensor:
    """Matrix (PLACES, PLACES + 2 * reach) whose row i has the weights of the kernel from column i on, and zeros."""
    places = torch.arange(-reach, reach + 1) / sigma
    kernel = torch.softmax(-places.square() / 2, 0)
    # A row is one shorter than the kernel with its zeros, so that each row begins one place later.
    return (
        torch.cat([kernel, kernel.new_zeros(PLACES)]).repeat(PLACES)[: PLACES * (PLACES + 2 * reach)].view(PLACES, -1)
    )

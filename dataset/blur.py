"""Gaussian blur of pictures as products with band matrices, several times as fast as a convolution on a CPU."""

import math

import numpy as np
import torch
from torch import Tensor

# Places of a row that one product of matrices computes, about: more have more zeros to multiply with, and fewer make
# the matrices too small.
PLACES = 20


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
    """Blur rows (m, n) and turn them to columns (n, m) float, the cheapest order for a product of matrices."""
    count, length = rows.shape
    # Weights beyond five standard deviations are less than a millionth of the largest.
    reach = min(size // 2, math.ceil(5 * sigma), length - 1)
    parts = max(1, round(length / PLACES))
    places = -(-length // parts)
    padded = _reflected(rows, reach, parts * places - length)  # (m, parts * places + 2 * reach)
    windows = padded.as_strided((parts, places + 2 * reach, count), (places, 1, padded.stride(0)))  # they overlap
    band = _band(sigma, reach, places).expand(parts, -1, -1)
    return torch.bmm(band, windows).flatten(0, 1)[:length]  # (parts, places, m), then (n, m)


def _reflected(rows: np.ndarray, reach: int, rest: int) -> Tensor:
    """Continue rows by ``reach`` places on both sides, mirrored at the outermost place, and by ``rest`` zeros."""
    count, length = rows.shape
    padded = np.empty((count, length + 2 * reach + rest), np.float32)
    end = reach + length
    padded[:, reach:end] = rows
    padded[:, :reach] = padded[:, 2 * reach : reach : -1]
    padded[:, end : end + reach] = padded[:, end - reach - 1 : end - 1][:, ::-1]
    padded[:, end + reach :] = 0
    return torch.from_numpy(padded)


def _band(sigma: float, reach: int, places: int) -> Tensor:
    """Matrix (places, places + 2 * reach) whose row i has the weights of the kernel from column i on, and zeros."""
    kernel = np.exp(-np.square(np.arange(-reach, reach + 1) / sigma) / 2)
    kernels = np.zeros((places, places + 2 * reach + 1), np.float32)
    kernels[:, : 2 * reach + 1] = kernel / kernel.sum()
    # Read as rows that are one place shorter, each begins one place later in its kernel.
    width = places + 2 * reach
    return torch.from_numpy(kernels.ravel()[: places * width].reshape(places, width))

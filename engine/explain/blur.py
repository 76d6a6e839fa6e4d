"""Gaussian blur of pictures and maps of any size."""

import math

from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur


def blur(images: Tensor, sigma: float) -> Tensor:
    """Blur (b, f, h, w); the radius of the kernel is 2.5 sigma, or the longest that reflected borders allow."""
    if sigma <= 0:
        return images
    reach = [min(math.ceil(2.5 * sigma), side - 1) for side in images.shape[:1:-1]]  # width first
    return gaussian_blur(images, [2 * radius + 1 for radius in reach], [sigma, sigma])

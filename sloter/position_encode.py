"""2-D sine position encoding of DETR (Carion et al., ECCV 2020), as SCOUTER adds it to the input of its keys."""

import math

import torch
from torch import Tensor


def sine_position_encoding(
    height: int, width: int, dim: int, *, temperature: float = 10000.0, device: torch.device | None = None
) -> Tensor:
    """Encode each place of a grid: its row in the first half of the channels, its column in the second half.

    Coordinates count from 1 and are scaled so that the last one is 2 pi. Even channels are their sines and odd channels
    their cosines, with wavelengths that grow geometrically up to ``temperature``.

    Returns:
        (1, d, h, w), values in [-1, 1].

    Raises:
        ValueError: ``dim`` is not a multiple of 4: row and column, sine and cosine each take a quarter.
    """
    if dim % 4:
        raise ValueError(f"the position encoding needs a width divisible by 4, not {dim}")
    half = dim // 2
    channel = torch.arange(half, dtype=torch.float32, device=device)
    wavelength = temperature ** (2 * (channel // 2) / half)  # (d/2)

    def encode(length: int) -> Tensor:
        place = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angle = place / (length + 1e-6) * 2 * math.pi  # (length)
        angle = angle[:, None] / wavelength  # (length, d/2)
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)  # (length, d/2)

    rows = encode(height)[:, None, :].expand(height, width, half)  # (h, w, d/2)
    columns = encode(width)[None, :, :].expand(height, width, half)  # (h, w, d/2)
    return torch.cat((rows, columns), dim=2).permute(2, 0, 1)[None]  # (1, d, h, w)

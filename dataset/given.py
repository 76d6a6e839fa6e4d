"""Pictures that a caller of the Python interface gives: paths, Pillow pictures, arrays, tensors, and lists of them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from dataset import DataError
from dataset.modes import eight_bits, orientation, upright
from dataset.pictures import as_mode, open_picture, raise_shortage, reason
from dataset.quiet import without_warnings

ARRAY = "an array is (H, W) or (H, W, ch), a tensor (ch, H, W), with 1, 3 or 4 channels"
KINDS = f"give a path, a Pillow picture, an array or a tensor, or a list of them; {ARRAY}"


def listed(given: Any) -> list[Any] | None:
    """What a list, a tuple or a batch (an array or a tensor of four dimensions) consists of; None for one picture."""
    return list(given) if isinstance(given, list | tuple) or getattr(given, "ndim", 0) == 4 else None


def given_picture(given: Any, in_chans: int) -> Image.Image:
    """A picture of any kind, upright, as grey or RGB with 8 bits per channel, as if it was read from a file.

    Floating-point values are rounded to 1/255. A fourth channel is opacity; what is transparent is put on white.

    Args:
        given: a path, a Pillow picture, an array (H, W) or (H, W, ch), or a tensor (ch, H, W).
        in_chans: 1 for grey, 3 for RGB.

    Raises:
        DataError: it cannot be read, or has another type, shape or range.
    """
    if isinstance(given, str | os.PathLike):
        return open_picture(Path(given), in_chans)
    if isinstance(given, Tensor):
        values = given.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # bfloat16 has no array
        given = (values.movedim(0, -1) if values.ndim == 3 else values).numpy()
    if isinstance(given, np.ndarray):
        return as_mode(Image.fromarray(_bytes(given)), in_chans)
    if not isinstance(given, Image.Image):
        raise DataError(f"{type(given).__name__} is no picture: {KINDS}")
    try:
        with without_warnings():
            given.load()
            return as_mode(upright(eight_bits(given), orientation(given)), in_chans)
    except Exception as error:  # Pillow decodes a file here, and raises errors of many types
        raise_shortage(error)
        raise DataError(f"the Pillow picture cannot be read: {reason(error)}") from error


def _bytes(values: np.ndarray) -> np.ndarray:
    """Pixels (H, W) or (H, W, 3 or 4) uint8 of an array.

    Raises:
        DataError: another shape or type, or values out of range.
    """
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (1,), (3,), (4,)) or not values.size:
        raise DataError(f"a picture of the shape {values.shape}, the channels last: {ARRAY}")
    values = values[..., 0] if values.shape[2:] == (1,) else values
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"a picture of {values.dtype}: give uint8 in 0..255, or floating-point values in 0..1")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also where one is not a number
        raise DataError(f"a picture with values from {low:g} to {high:g}: floating-point values must lie in 0..1 and "
                        "not be normalised; give uint8 for 0..255")  # fmt: skip
    return (values * 255).round().astype(np.uint8)

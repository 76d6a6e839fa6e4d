"""Decoding and conversion of pictures of any mode and depth to 8-bit grey or RGB, upright."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops

DEPTHS = (8, 10, 12, 14)  # bits of sensors whose values are stored in 16 bits
BITS_PER_SAMPLE, PHOTOMETRIC, MAX_SAMPLE_VALUE = 258, 262, 281  # tags of TIFF
WHITE_IS_ZERO = 0  # photometric interpretation; Pillow itself inverts such pictures of up to 8 bits only
# Decoders of 16-bit colour keep the high byte of each value; that of the other byte order keeps the low byte. The
# depth of CMYK is not looked for: its small values are little ink, which is light.
DEEP_COLOUR = re.compile(r"(?P<mode>RGB|RGBA|RGBX);16(?P<order>[BLN])")
OTHER_ORDER = {"B": "L", "L": "B", "N": "B"}
ORIENTATION_KEYS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # of a picture's info in Pillow
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(picture: Image.Image) -> int:
    """EXIF orientation of a picture, 1 to 8; 1, upright, if its EXIF data are missing or cannot be parsed."""
    try:
        value = int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the parser of damaged data raises errors of many types
        return 1
    return value if value in _UPRIGHT else 1


def decode(path: str | Path, *, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Decode a file, turn it upright, and convert deep and floating-point modes to 8 bits per channel.

    Args:
        path: the file.
        at_least: sufficient size (H, W); a large JPEG is then decoded at a half, a quarter or an eighth of its size.

    Raises:
        Exception: of many types, from Pillow, if the file cannot be decoded.
    """
    with Image.open(path) as file:
        if at_least is not None:
            file.draft(None, (max(at_least), max(at_least)))  # the EXIF orientation may swap the sides
        deep = DEEP_COLOUR.fullmatch(_raw_mode(file))
        file.load()
        if deep and _darkest_depth(file):
            return upright(_deep_colour(path, file, OTHER_ORDER[deep["order"]]), orientation(file))
        return upright(eight_bits(file), orientation(file))


def upright(picture: Image.Image, turned: int) -> Image.Image:
    """Turn a picture by its EXIF orientation, 1 to 8; the turned one has no orientation, so it is not turned again."""
    if turned not in _UPRIGHT:
        return picture
    picture = picture.transpose(_UPRIGHT[turned])
    for key in ORIENTATION_KEYS:
        picture.info.pop(key, None)
    return picture


def eight_bits(picture: Image.Image) -> Image.Image:
    """Convert deep and floating-point modes of a loaded picture to 8 bits per channel; others stay as they are."""
    if picture.mode == "I" and picture.format == "PPM":
        return _grey(np.asarray(picture), 2**16 - 1)  # Pillow scales the white that the file says to this
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values, tags = np.asarray(picture), getattr(picture, "tag_v2", {})
        grey = _stretched(values) if picture.mode in ("I", "F") else _grey(values, white(values, tags))
        return ImageChops.invert(grey) if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else grey
    return picture.convert("RGB") if picture.mode == "LAB" else picture  # Pillow does not convert LAB to grey


def white(values: np.ndarray, tags: Any) -> int:
    """White of values that are stored in 16 bits: what the tags of a TIFF say, else the least depth that holds them.

    Cameras and microscopes store 10, 12 or 14 bits in 16, which would be nearly black on the scale of 16.
    """
    brightest = int(values.max())
    (bits, *_), largest = _numbers(tags, BITS_PER_SAMPLE) or [16], _numbers(tags, MAX_SAMPLE_VALUE)
    if 8 <= bits < 16 and brightest < 2**bits:
        return 2**bits - 1
    if largest and brightest <= max(largest) < 2**16:
        return max(largest)
    return next((2**depth - 1 for depth in DEPTHS if brightest < 2**depth), 2**16 - 1)


def _numbers(tags: Any, tag: int) -> list[int]:
    """Value of a TIFF tag as a list of whole numbers; empty if there is none."""
    value = tags.get(tag)
    return [int(v) for v in value if v > 0] if isinstance(value, tuple) else [value] if isinstance(value, int) else []


def _grey(values: np.ndarray, top: int) -> Image.Image:
    return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))


def _stretched(values: np.ndarray) -> Image.Image:
    """Stretch grey values whose white is unknown to 0..255; what is not a number becomes black.

    Raises:
        ValueError: no value is finite.
    """
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("none of its values is a finite number")
    low, high = finite.min(), finite.max()
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scaled = (values - low) / max(high - low, np.finfo(np.float64).tiny)
    return Image.fromarray((scaled * 255).round().astype(np.uint8))


def _raw_mode(file: Image.Image) -> str:
    """Raw mode of the stored pixels, such as ``RGB;16B``; empty if the decoder does not name it."""
    tiles: Sequence[Any] = getattr(file, "tile", ())
    args = tiles[0][3] if tiles else ""
    args = args[0] if isinstance(args, tuple) and args else args
    return args if isinstance(args, str) else ""


def _darkest_depth(picture: Image.Image) -> bool:
    """Whether the high bytes of 16-bit colour are so small that the values have 14 bits or fewer."""
    return int(np.asarray(picture)[..., :3].max()) < 2 ** (max(DEPTHS) - 8)


def _deep_colour(path: str | Path, high: Image.Image, order: str) -> Image.Image:
    """Scale 16-bit colour by the depth that holds it; ``order`` is the byte order whose decoder keeps the low bytes."""
    with Image.open(path) as file:
        file.tile = [tile._replace(args=_other_order(tile.args, order)) for tile in file.tile]
        file.load()
        values = np.asarray(high).astype(np.uint16) * 256 + np.asarray(file)  # (H, W, ch)
    scaled = [(part * (255 / white(part, {}))).round() for part in (values[..., :3], values[..., 3:]) if part.size]
    return Image.fromarray(np.concatenate(scaled, axis=-1).astype(np.uint8), high.mode)


def _other_order(args: Any, order: str) -> Any:
    if isinstance(args, tuple):
        return (_other_order(args[0], order), *args[1:])
    return f"{args[:-1]}{order}"

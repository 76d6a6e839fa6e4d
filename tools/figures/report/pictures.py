"""Pictures and maps of the report as small data URIs."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_SIDE = 288  # pixels of the longer side; shown at about that size
JPEG_QUALITY = 80
WORTH_PACKING = 2  # times the JPEG file up to which a PNG file that was packed in haste may still become smaller
# Colours of positive and of negative values, as in tools.figures.explanations; None: such values are not shown.
RED, BLUE = (214, 26, 0), (0, 51, 217)
COLOURS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int] | None]] = {
    "positive": (RED, None), "negative": (BLUE, None), "contrast": (RED, BLUE),
}  # fmt: skip


class EmbeddedPicture(NamedTuple):
    """Picture as a data URI, with its width and height in pixels."""

    uri: str
    width: int
    height: int


def picture_uri(picture: Image.Image) -> EmbeddedPicture:
    """Embed a picture, reduced to ``MAX_SIDE``, as the smaller of PNG and JPEG; transparent parts become white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    small = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return EmbeddedPicture(_smaller_uri(small), small.width, small.height)


def _smaller_uri(picture: Image.Image) -> str:
    """Data URI of the smaller file of PNG and JPEG; a photograph is not packed well as PNG, which takes very long."""
    jpeg = _encoded(picture, "JPEG", quality=JPEG_QUALITY, optimize=True)
    if len(_encoded(picture, "PNG", compress_level=1)) <= WORTH_PACKING * len(jpeg):
        png = _encoded(picture, "PNG", optimize=True)
        if len(png) <= len(jpeg):
            return _uri("png", png)
    return _uri("jpeg", jpeg)


def map_uris(maps: Sequence[np.ndarray], kind: str, *, scale: float = 0.0) -> list[str]:
    """Data URIs of maps (h, w) that share one scale: PNGs of one pixel per place, the opacity being the map's value.

    Args:
        maps: infinite and NaN values count as zero, and so do negative ones except for a contrast.
        kind: a key of ``COLOURS``.
        scale: value of full opacity; 0 for the largest of these maps.
    """
    above, below = COLOURS[kind]
    clean = [np.nan_to_num(np.asarray(m, np.float64), posinf=0.0, neginf=0.0) for m in maps]
    if below is None:
        clean = [np.clip(m, 0.0, None) for m in clean]
    scale = scale or max((float(np.abs(m).max(initial=0.0)) for m in clean), default=0.0) or 1.0
    uris = []
    for values in clean:
        pixels = np.empty((*values.shape, 4), np.uint8)  # (h, w, 4)
        pixels[..., :3] = above if below is None else np.where(values[..., None] < 0, below, above)
        pixels[..., 3] = (np.abs(values) / scale * 255).round()
        uris.append(_uri("png", _encoded(Image.fromarray(pixels), "PNG", optimize=True)))
    return uris


def _encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=form, **options)
    return file.getvalue()


def _uri(form: str, data: bytes) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode('ascii')}"

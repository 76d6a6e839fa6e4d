"""Pictures and maps of the report as small data URIs."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

MAX_SIDE = 288  # pixels of the longer side; shown at about that size
JPEG_QUALITY = 80
# Colours of positive and of negative values, as in tools.figures.explanations; None: such values are not shown.
RED, BLUE = (214, 26, 0), (0, 51, 217)
COLOURS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int] | None]] = {
    "positive": (RED, None), "negative": (BLUE, None), "contrast": (RED, BLUE),
}  # fmt: skip


def picture_uri(picture: Image.Image) -> tuple[str, int, int]:
    """Data URI of a picture, reduced to ``MAX_SIDE``, as PNG or JPEG, whichever is smaller.

    Transparent parts become white.

    Returns:
        The URI, width and height in pixels.
    """
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    small = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    jpeg, png = _encoded(small, "JPEG", quality=JPEG_QUALITY), _encoded(small, "PNG")
    uri = _uri("png", png) if len(png) <= len(jpeg) else _uri("jpeg", jpeg)
    return uri, small.width, small.height


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
        uris.append(_uri("png", _encoded(Image.fromarray(pixels), "PNG")))
    return uris


def _encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=form, optimize=True, **options)
    return file.getvalue()


def _uri(form: str, data: bytes) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode('ascii')}"

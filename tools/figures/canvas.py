"""Canvas that writes a figure as PNG in one pass."""

import struct
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, PngImagePlugin

from tools.figures.text_cache import TextCache

# Level 6, the usual one, takes several times as long for files that are little smaller.
COMPRESSION = 1
COLOUR_TYPES = {"L": 0, "RGB": 2}  # of the PNG standard, by Pillow's names
UP = 2  # the filter that leaves the difference of each row from the one above


def save_png(file: IO[bytes], picture: Image.Image, texts: Mapping[str, str], *, dpi: float | None = None) -> None:
    """Write a picture as PNG with texts, and with its pixels per inch, if they are given.

    Pillow tries every filter on every row, which takes as long as the compression and hardly makes a file smaller.

    Args:
        file: open for writing.
        picture: grey or RGB; another mode becomes RGB.
        texts: by keyword.
        dpi: pixels per inch.
    """
    picture = picture if picture.mode in COLOUR_TYPES else picture.convert("RGB")
    rows = np.asarray(picture).reshape(picture.height, -1)  # (H, W or 3W) bytes
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0], filtered[0, 1:] = UP, rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    file.write(b"\x89PNG\r\n\x1a\n")
    size = struct.pack(">IIBBBBB", *picture.size, 8, COLOUR_TYPES[picture.mode], 0, 0, 0)
    PngImagePlugin.putchunk(file, b"IHDR", size)
    if dpi is not None:
        per_metre = round(dpi / 0.0254)
        PngImagePlugin.putchunk(file, b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    for kind, data, _ in info.chunks:
        PngImagePlugin.putchunk(file, kind, data)
    PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(filtered.data, COMPRESSION))
    PngImagePlugin.putchunk(file, b"IEND")


class PngCanvas(FigureCanvasAgg):
    """Canvas whose figure is drawn once by ``savefig``; matplotlib's draws it twice, the first time for its layout."""

    def get_renderer(self) -> TextCache:
        """The renderer of the figure at its size, which is emptied before each drawing."""
        size = (*self.get_width_height(physical=True), self.figure.dpi)
        if getattr(self, "_size", None) != size:
            self.renderer, self._size = TextCache(*size), size
        return self.renderer

    def print_figure(  # type: ignore[override]
        self, filename: IO[bytes], *, dpi: float, metadata: Mapping[str, str], **options: Any
    ) -> None:  # fmt: skip
        """Draw the figure and write it as PNG.

        Args:
            filename: a file open for writing.
            dpi: pixels per inch.
            metadata: texts of the file.
            options: ignored; they are those of ``Figure.savefig``.
        """
        self.figure.set_dpi(dpi)
        # The first layout settles the sizes, on which the ticks of a scale and so the place of its label depend.
        if engine := self.figure.get_layout_engine():
            engine.execute(self.figure)
        self.draw()
        save_png(filename, Image.fromarray(np.asarray(self.buffer_rgba())), metadata, dpi=dpi)

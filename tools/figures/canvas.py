"""Canvas that writes a figure as PNG in one pass."""

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, PngImagePlugin

# Level 6, Pillow's default, takes several times as long for files that are little smaller.
COMPRESSION = 1


def save_png(file: IO[bytes], picture: Image.Image, texts: Mapping[str, str], **options: Any) -> None:
    """Write a picture as PNG with texts; further options are those of Pillow."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    picture.save(file, format="PNG", pnginfo=info, compress_level=COMPRESSION, **options)


class PngCanvas(FigureCanvasAgg):
    """Canvas whose figure is drawn once by ``savefig``; matplotlib's draws it twice, the first time for its layout."""

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
        save_png(filename, Image.fromarray(np.asarray(self.buffer_rgba())), metadata, dpi=(dpi, dpi))

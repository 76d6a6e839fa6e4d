"""Canvas that writes a figure as PNG or JPEG in one pass."""

from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, PngImagePlugin

# Level 6, Pillow's default, takes several times as long for files that are little smaller.
COMPRESSION = 1
QUALITY = 92  # of a JPEG, whose colours have the resolution of its brightness: thin coloured lines stay sharp
EXIF_TAGS = {"Description": 0x010E, "Software": 0x0131}


def save_png(file: IO[bytes], picture: Image.Image, texts: Mapping[str, str], **options: Any) -> None:
    """Write a picture as PNG with texts; further options are those of Pillow."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    picture.save(file, format="PNG", pnginfo=info, compress_level=COMPRESSION, **options)


def save_jpeg(file: IO[bytes], picture: Image.Image, texts: Mapping[str, str], **options: Any) -> None:
    """Write a picture as JPEG with texts as EXIF data; further options are those of Pillow."""
    info = Image.Exif()
    for key, text in texts.items():
        info[EXIF_TAGS[key]] = text
    picture.save(file, format="JPEG", exif=info, quality=QUALITY, subsampling=0, **options)


WRITERS = {"png": save_png, "jpg": save_jpeg}  # by the ending of a file


class OnePassCanvas(FigureCanvasAgg):
    """Canvas whose figure is drawn once by ``savefig``; matplotlib's draws it twice, the first time for its layout."""

    def print_figure(  # type: ignore[override]
        self, filename: IO[bytes], *, dpi: float, metadata: Mapping[str, str], format: str, **options: Any
    ) -> None:  # fmt: skip
        """Draw the figure and write it.

        Args:
            filename: a file open for writing.
            dpi: pixels per inch.
            metadata: texts of the file.
            format: a key of :data:`WRITERS`.
            options: ignored; they are those of ``Figure.savefig``.
        """
        self.figure.set_dpi(dpi)
        # The first layout settles the sizes, on which the ticks of a scale and so the place of its label depend.
        if engine := self.figure.get_layout_engine():
            engine.execute(self.figure)
        self.draw()
        picture = Image.fromarray(np.asarray(self.buffer_rgba())).convert("RGB")  # its background is opaque
        WRITERS[format](filename, picture, metadata, dpi=(dpi, dpi))

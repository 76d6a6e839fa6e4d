"""Pictures and figures as PNG or JPEG files, with a mark of this program."""

import textwrap
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from tools import VERSION
from tools.figures.canvas import WRITERS, OnePassCanvas
from tools.figures.texts import prepare_texts
from tools.files import atomic_file, keep_foreign

DPI = 120  # of a figure
PROGRAM = "SCOUTER"  # the start of the "Software" of every picture that is written
CHARACTERS_PER_INCH = 20  # of a note below a figure


def is_own_picture(path: Path) -> bool:
    """Whether a PNG or JPEG file is of this program."""
    with path.open("rb") as file:
        start = file.read(2**16)
    if start.startswith(b"\xff\xd8"):
        return b"Exif\0\0" in start and f"{PROGRAM} ".encode() in start
    return f"tEXtSoftware\0{PROGRAM} ".encode() in start


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture in the format of the file's ending, .png or .jpg; another program's of this name is kept."""
    keep_foreign(path, is_own_picture)
    with atomic_file(path, durable=False) as file:
        WRITERS[path.suffix[1:]](file, picture, {"Software": f"{PROGRAM} {VERSION}"})


def save_figure(path: Path, figure: Figure, *, note: str = "") -> None:
    """Write a figure at :data:`DPI` pixels per inch, its texts as :mod:`tools.figures.texts` draws them.

    A picture of this name that is not of this program is kept.

    Args:
        path: the file; its ending, .png or .jpg, says in which format.
        figure: what is drawn.
        note: line below it that says which data it shows; it is the file's ``Description``, too.
    """
    if note:
        width, height = figure.get_size_inches()
        note = textwrap.fill(note, max(int(width * CHARACTERS_PER_INCH), 20))
        strip = 0.1 * (note.count("\n") + 1) + 0.1  # whole pixels, so that what is above stays as it is
        figure.set_size_inches(width, height + strip)
        share = strip / (height + strip)
        engine = figure.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.set(rect=(0, share, 1, 1 - share))
        figure.text(0.5, share / 2, note, ha="center", va="center", fontsize=6, color="0.4", parse_math=False)
    prepare_texts(figure)
    keep_foreign(path, is_own_picture)
    metadata = {"Software": f"{PROGRAM} {VERSION}", **({"Description": note} if note else {})}
    OnePassCanvas(figure)
    with atomic_file(path, durable=False) as file:
        figure.savefig(file, dpi=DPI, format=path.suffix[1:], metadata=metadata)

"""Files that are written completely or not at all."""

import csv
import io
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from tools import ToolError

CHARACTERS_PER_INCH = 20  # of a note below a figure


@contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing, which replaces ``path`` once it is complete.

    If the process is killed or writing fails, the old file or the new one exists, never a partial one.

    Args:
        path: the file to write.
        durable: wait until the data are on the disk, so that they survive a power cut.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write the whole content of a file; see :func:`atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def writable_folder(folder: str | Path) -> Path:
    """Create a folder and try to write in it, so that a run fails before its first epoch, not after it.

    Raises:
        ToolError: the folder cannot be created or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ToolError(f"the folder {folder} cannot be written ({error.strerror}): choose another one") from error
    return folder


def save_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV; a row has an empty cell for a key that it lacks."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture as PNG."""
    with atomic_file(path, durable=False) as file:
        picture.save(file, format="PNG")


def save_figure(path: Path, figure: Figure, *, note: str = "") -> None:
    """Write a figure as PNG at 120 pixels per inch.

    Args:
        path: the file.
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
    with atomic_file(path, durable=False) as file:
        figure.savefig(file, dpi=120, format="png", metadata={"Description": note} if note else None)

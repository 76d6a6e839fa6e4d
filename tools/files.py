"""Files that are written completely or not at all."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from matplotlib.figure import Figure
from PIL import Image

from tools import ToolError


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
    """Write rows with the same keys as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture as PNG."""
    with atomic_file(path, durable=False) as file:
        picture.save(file, format="PNG")


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG at 120 pixels per inch."""
    with atomic_file(path, durable=False) as file:
        figure.savefig(file, dpi=120, format="png")

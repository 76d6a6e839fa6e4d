"""Files that are written completely or not at all."""

import csv
import errno
import io
import itertools
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tools import ToolError
from tools.ending import TEMPORARY_FILES
from tools.stop_signals import hold_stop_signals
from tools.text import size_text

logger = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SECONDS_TO_LEFTOVER = 3600.0  # after its last write, a temporary file has no writer any more
PART_BYTES = 4  # random bytes in the name of a temporary file
_cleared: set[Path] = set()  # folders whose leftovers this process has removed


@contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing, which replaces ``path`` once it is complete.

    If the process is killed or writing fails, the old file or the new one exists, never a partial one. A stop signal
    has its effect after the body.

    Two programs that write the same file do not disturb each other: the last one to finish wins.

    Args:
        path: the file to write.
        durable: wait until the data are on the disk, so that they survive a power cut.

    Raises:
        ToolError: the disk or the quota is full, the file cannot be written for another reason, or see
            :func:`check_outputs`.
    """
    check_outputs(path)
    raw = None
    try:
        with hold_stop_signals():
            raw, part = _create_part(path)
            try:
                with io.BufferedWriter(raw) as file:
                    yield file
                    file.flush()
                    if raw.full:
                        raise raw.full
                    if durable:
                        os.fsync(file.fileno())
                os.replace(part, path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            finally:
                TEMPORARY_FILES.discard(str(part))
    except OSError as error:
        reason = error.strerror or str(error)
        space = space_message(path, error.errno, raw.size if raw else 0) if error.errno in FULL else "check permissions"
        raise ToolError(f"{path} cannot be written ({reason}): {space}; nothing saved before is lost") from error


class _PartFile(io.FileIO):
    """File that after a full disk only counts what is written to it, so that the message can say the whole size."""

    _put = io.FileIO.write

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x")
        self.full: OSError | None = None
        self.size = 0  # bytes, written or not

    def write(self, data: Any) -> int:
        """Write or count a block of bytes; returns how many were taken."""
        taken = memoryview(data).nbytes
        if self.full is None:
            try:
                taken = self._put(data)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self.full = error
        self.size += taken
        return taken


def space_message(path: Path, number: int | None, size: int) -> str:
    """What to do about a full disk, a full quota or a limit on file size.

    Args:
        path: the file that could not be written.
        number: one of :data:`FULL`.
        size: bytes of the file; 0 if it could not even be created.
    """
    needed = f"it takes {size_text(size)}, " if size else ""
    if number == errno.EFBIG:
        return f"{needed}more than the limit on the size of a file (ulimit -f) allows: raise the limit"
    if number == errno.EDQUOT:
        return f"{needed}more than your quota has left: free some space"
    free = shutil.disk_usage(path.parent).free
    if size <= free:  # also where the disk has space, but no inodes
        return f"{needed}{size_text(free)} are free now: free some space, or remove some files if there are too many"
    return f"{needed}{size_text(free)} are free: free some space"


def _create_part(path: Path) -> tuple[_PartFile, Path]:
    """Create the temporary file of a file: its own of each writer, and never through a symbolic link.

    What killed programs left behind is removed at the first file of each folder: to look for it at each of thousands of
    map files would take longer than to write them.
    """
    start = path.name[:60]  # at most 240 bytes, of the 255 of a name
    part = path.with_name(f"{start}.{secrets.token_hex(PART_BYTES)}.part")
    TEMPORARY_FILES.add(str(part))
    file = _PartFile(part)
    folder = path.parent.absolute()
    if folder not in _cleared:
        _cleared.add(folder)
        _remove_leftovers(folder, os.fstat(file.fileno()).st_mtime)
    return file, part


def _remove_leftovers(folder: Path, now: float) -> None:
    """Remove old temporary files; ``now`` is by the clock of the disk: that of this machine may differ."""
    for old in folder.glob(f"*.{'[0-9a-f]' * 2 * PART_BYTES}.part"):
        with suppress(OSError):  # another program may remove it, too
            if abs(now - old.lstat().st_mtime) > SECONDS_TO_LEFTOVER:
                old.unlink()


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
        with hold_stop_signals():
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise ToolError(f"the folder {folder} cannot be written ({error.strerror}): choose another one") from error
    return folder


def read_json(path: Path) -> dict[str, Any] | None:
    """Content of a JSON file, which is an object; None if it is not.

    Raises:
        OSError: there is no such file, or it cannot be opened.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # also text that is not UTF-8
        return None
    return content if isinstance(content, dict) else None


def check_outputs(*paths: Path) -> None:
    """Raise, before long work, where a file is to be written and something else is.

    A symbolic link to a file, or to nothing, will be replaced; what it points to stays as it is.

    Raises:
        ToolError: a path is a folder, a pipe, a socket or a device, or a link to one.
    """
    for path in paths:
        if path.is_dir():
            raise ToolError(f"{path} is a folder, and a file of this name is to be written: move it away")
        if path.exists() and not path.is_file():
            raise ToolError(f"{path} is a pipe, a socket or a device, and a file of this name is to be written: "
                            "move it away")  # fmt: skip


def check_report_file(path: Path, mark: bytes, *, inputs: Iterable[str | Path | None]) -> None:
    """Raise before long work where a page could not be written, or would replace what is not such a page.

    Args:
        path: the page.
        mark: a part of the beginning of every such page.
        inputs: files that the program reads; None stands for a flag that is not given.

    Raises:
        ToolError: the path names a folder, a device, one of the inputs or a file of another kind.
    """
    remedy = "give the name of a new file"
    if path.is_dir():
        raise ToolError(f"--report {path} is a folder: {remedy}, such as {path}/report.html")
    if path.exists() and not path.is_file():
        raise ToolError(f"--report {path} is a device or a pipe: {remedy}")
    if any(path.resolve() == Path(file).resolve() for file in inputs if file):
        raise ToolError(f"--report {path} is a file that this run reads: {remedy}")
    writable_folder(path.parent)
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(4096)
        if start and mark not in start:
            raise ToolError(f"--report {path} exists and is no report of this program: {remedy}, or move it away")


def check_folder(path: Path, flag: str, *, inputs: Iterable[str | Path | None]) -> None:
    """Raise before long work where a folder of output is something else, or a folder that the program reads.

    Raises:
        ToolError: the path exists and is no folder, is one of the inputs, or cannot be written.
    """
    if (path.exists() or path.is_symlink()) and not path.is_dir():
        raise ToolError(f"{flag} {path} is not a folder: give another one")
    if any(path.resolve() == Path(folder).resolve() for folder in inputs if folder):
        raise ToolError(f"{flag} {path} is a folder that this run reads: give another one")
    writable_folder(path)


def keep_foreign(path: Path, is_own: Callable[[Path], bool]) -> None:
    """Rename a file that is about to be replaced and is not this program's, to ``<name>.kept.<ending>``.

    Args:
        path: the file to be written.
        is_own: whether an existing file is a result of this program; it may raise OSError or ValueError for others.
    """
    check_outputs(path)
    try:
        if not path.is_file() or not path.stat().st_size or is_own(path):
            return
    except (OSError, ValueError):
        pass
    number, kept = 1, path.with_name(f"{path.stem}.kept{path.suffix}")
    while kept.exists() or kept.is_symlink():
        number += 1
        kept = path.with_name(f"{path.stem}.kept{number}{path.suffix}")
    path.rename(kept)
    logger.warning("%s has files with the names of results that this program, in this version, did not write; they are "
                   "renamed to *.kept%s", path.parent, path.suffix, extra={"once": True})  # fmt: skip


def has_keys(*names: str) -> Callable[[Path], bool]:
    """Check for :func:`keep_foreign`: a JSON file is an object with these keys."""
    return lambda path: all(name in (read_json(path) or {}) for name in names)


def save_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, columns: Iterable[str]) -> None:
    """Write rows as CSV; a row has an empty cell for a key that it lacks.

    Args:
        path: the file; one without ``columns`` is not of this program, and is kept.
        rows: at least one.
        columns: names by which such a table is known.
    """
    header = list(dict.fromkeys(name for row in rows for name in row))
    save_long_csv(path, header, ([row.get(name) for name in header] for row in rows), columns=columns)


def save_long_csv(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], *, columns: Iterable[str]
) -> None:  # fmt: skip
    """Write rows of cells as CSV one by one, so that a table of any length takes no memory.

    Args:
        path: the file; one without ``columns`` is not of this program, and is kept.
        header: name of each column.
        rows: cells in the order of the header.
        columns: names by which such a table is known.
    """
    keep_foreign(path, lambda file: set(columns) <= set(_header(file)))
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")  # for names that are not UTF-8
        try:
            csv.writer(text).writerows(itertools.chain([header], rows))
        finally:
            text.detach()  # which leaves the file open


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader([file.readline(100_000)]), [])

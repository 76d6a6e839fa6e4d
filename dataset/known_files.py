"""What is known of picture files from an earlier start, while their size and modification time stay the same."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

THREADS = 8  # more than cores, since they wait for the disk
FILES_AT_A_TIME = 64  # of a thread: starting one for each file would take longer than its work
END_BYTES = 4096
ENDS_SIZE, CONTENT_SIZE = 16, 32  # bytes of the two digests
# Arrays of a record, with their types and number of axes.
ARRAYS = {"names": (np.uint8, 1), "size": (np.int64, 1), "mtime": (np.int64, 1), "checked": (np.bool_, 1),
          "ends": (np.uint8, 2), "content": (np.uint8, 2), "content_rows": (np.int64, 1)}  # fmt: skip


class KnownFiles:
    """Picture files of a dataset: which of them are usable, and digests of those that may be duplicates.

    A file is a row of the arrays. What an earlier start found holds for a file with the same name, size and
    modification time; anything else is found again.

    Args:
        root: folder of the dataset, below which names are relative; None for files anywhere.
        record: what :meth:`save` stored at an earlier start; None for nothing.
        store: takes the arrays of :meth:`save`; None to store nothing.

    Raises:
        ValueError: the record is not one of :meth:`save`.
    """

    def __init__(
        self, root: Path | None = None, record: Mapping[str, NDArray[Any]] | None = None,
        store: Callable[[dict[str, NDArray[Any]]], None] | None = None,
    ) -> None:  # fmt: skip
        self.prefix = str(root).rstrip(os.sep) + os.sep if root is not None else ""
        self.rows: dict[str, int] = {}  # by name
        self.size, self.mtime = np.zeros(0, np.int64), np.zeros(0, np.int64)  # -1 for a file that is not there
        self.checked, self.seen = np.zeros(0, bool), np.zeros(0, bool)  # found usable; looked up by this process
        self.ends, self.content = np.zeros((0, ENDS_SIZE), np.uint8), dict[int, bytes]()
        self.store, self.changed = store, False
        if record:
            self._restore(record)

    def _restore(self, record: Mapping[str, NDArray[Any]]) -> None:
        """Take over the arrays of a record, and check that they fit together."""
        for name, (kind, axes) in ARRAYS.items():
            if record[name].dtype != kind or record[name].ndim != axes:
                raise ValueError(f"{name} is of another type")
        text = os.fsdecode(record["names"].tobytes())
        names = text.split("\0") if text else []
        self.rows = {name: row for row, name in enumerate(names)}
        count, content, rows = len(self.rows), record["content"], record["content_rows"]
        if any(len(record[name]) != count for name in ("size", "mtime", "checked", "ends")) or len(names) != count:
            raise ValueError("the numbers of files differ")
        if record["ends"].shape[1] != ENDS_SIZE or content.shape != (len(rows), CONTENT_SIZE):
            raise ValueError("the digests are of another size")
        self.size, self.mtime, self.checked, self.ends = (
            record[n].copy() for n in ("size", "mtime", "checked", "ends")
        )
        self.seen = np.zeros(count, bool)
        self.content = {int(row): digest.tobytes() for row, digest in zip(rows, content, strict=True)}

    def look_up(self, paths: Sequence[Path]) -> NDArray[np.int64]:
        """Rows of files; what was known of one that has changed is forgotten."""
        rows = np.fromiter((self.rows.setdefault(self._name(p), len(self.rows)) for p in paths), np.int64, len(paths))
        self._grow(len(self.rows) - len(self.size))
        unseen = np.flatnonzero(~self.seen[rows])
        found = np.array(threaded(_size_and_time, [paths[index] for index in unseen.tolist()]), np.int64).reshape(-1, 2)
        new = rows[unseen]
        other = (self.size[new] != found[:, 0]) | (self.mtime[new] != found[:, 1])
        self.size[new], self.mtime[new], self.seen[new] = found[:, 0], found[:, 1], True
        self.checked[new[other]], self.ends[new[other]] = False, 0
        for row in new[other].tolist():
            self.content.pop(row, None)
        return rows

    def _name(self, path: Path) -> str:
        return str(path).removeprefix(self.prefix)

    def _grow(self, more: int) -> None:
        """Add rows of files of which nothing is known."""
        self.size, self.mtime = (np.concatenate([a, np.full(more, -1)]) for a in (self.size, self.mtime))
        self.checked, self.seen = (np.concatenate([a, np.zeros(more, bool)]) for a in (self.checked, self.seen))
        self.ends = np.concatenate([self.ends, np.zeros((more, ENDS_SIZE), np.uint8)])

    def set_checked(self, rows: NDArray[np.int64]) -> None:
        """Remember that files are usable."""
        self.changed |= not self.checked[rows].all()
        self.checked[rows] = self.size[rows] >= 0

    def ends_digests(self, rows: NDArray[np.int64], paths: Sequence[Path]) -> list[bytes | None]:
        """Digests of the first and last bytes of files, given by their rows and paths; None for an unreadable file."""
        unknown = np.flatnonzero(~self.ends[rows].any(1)).tolist()
        if unknown:
            digests = threaded(_ends_digest, [paths[index] for index in unknown])
            content = b"".join(digest or bytes(ENDS_SIZE) for digest in digests)
            self.ends[rows[unknown]] = np.frombuffer(content, np.uint8).reshape(-1, ENDS_SIZE)
            self.changed = True
        return [ends.tobytes() if ends.any() else None for ends in self.ends[rows]]

    def content_digests(self, rows: NDArray[np.int64], paths: Sequence[Path]) -> list[bytes | None]:
        """Digests of the whole content of files, given by their rows and paths; None for an unreadable file."""
        for row, path in zip(rows.tolist(), paths, strict=True):
            if row not in self.content:
                with suppress(OSError):
                    self.content[row], self.changed = hashlib.sha256(path.read_bytes()).digest(), True
        return [self.content.get(row) for row in rows.tolist()]

    def save(self) -> None:
        """Store what is known, if it has changed, without the files that are not there any more."""
        if self.store is None or not self.changed:
            return
        self.changed = False
        names = list(self.rows)
        unseen = np.flatnonzero(~self.seen)  # of another split, or removed
        there = np.ones(len(names), bool)
        found = threaded(_size_and_time, [Path(self.prefix, names[row]) for row in unseen])
        there[unseen] = [size >= 0 for size, _ in found]
        kept = np.flatnonzero(there & (self.size >= 0))
        place = {row: number for number, row in enumerate(kept.tolist())}
        content = {place[row]: digest for row, digest in self.content.items() if row in place}
        self.store({
            "names": np.frombuffer(os.fsencode("\0".join(names[row] for row in kept)), np.uint8),
            "size": self.size[kept], "mtime": self.mtime[kept], "checked": self.checked[kept], "ends": self.ends[kept],
            "content": np.frombuffer(b"".join(content.values()), np.uint8).reshape(-1, CONTENT_SIZE),
            "content_rows": np.array(list(content), np.int64),
        })  # fmt: skip


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in ns of a file; -1 if it is not there or may not be seen."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _ends_digest(path: Path) -> bytes | None:
    """Digest of the first and last bytes of a file; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(END_BYTES)
            file.seek(max(0, os.fstat(file.fileno()).st_size - END_BYTES))
            return hashlib.blake2b(start + file.read(), digest_size=ENDS_SIZE).digest()
    except OSError:
        return None


def threaded(
    function: Callable[[Any], Any], items: Sequence[Any], progress: Callable[[int], object] = lambda done: None
) -> list[Any]:
    """Results of a function of each item, computed by several threads.

    Args:
        function: waits for the disk, or works outside Python.
        items: its arguments.
        progress: called with the number of further items that are done.
    """
    parts = [items[start : start + FILES_AT_A_TIME] for start in range(0, len(items), FILES_AT_A_TIME)]
    pool, results = ThreadPoolExecutor(THREADS), []
    try:
        for part in pool.map(lambda part: [function(item) for item in part], parts):
            results += part
            progress(len(part))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, do not wait for a disk that may never answer
    return results

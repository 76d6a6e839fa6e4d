"""Text tables of datasets as people have saved them: any usual encoding, separator, quotation and line end."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataset import DataError

MAX_DIGITS = 18  # of a number; Python does not read an int of thousands of digits
NUMBERED = re.compile(rf'\s*"?(\d{{1,{MAX_DIGITS}}})"?\s*[\s,;]\s*(\S.*)')


def read_text(path: Path) -> str:
    """Read text in UTF-8 or UTF-16, with or without a byte order mark, or else in Latin-1; lines end in ``\\n``.

    Raises:
        DataError: the path is a pipe, which would block, a device or a folder.
        OSError: the file cannot be read.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is a pipe, a device or a folder: give a text file")
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    elif b"\0" in content[:2]:  # no text begins with a NUL, or with one character before it
        text = content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def whole_number(text: str) -> int | None:
    """Number of a text of at most 18 decimal digits; None of any other text."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


class NumberedTable(dict[int, str]):
    """File of lines ``<number> <value>``, which may also be separated by a comma, a semicolon or a tab.

    Args:
        path: the file.

    Attributes:
        lines: line of each number, counted from 1.

    Raises:
        DataError: a line of another form, or two lines that contradict each other.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.lines = path, dict[int, int]()
        for line, text in enumerate(read_text(path).split("\n"), 1):
            if not text.strip():
                continue
            match = NUMBERED.fullmatch(text)
            if not match:
                raise DataError(f"{path} has a line that is not '<number> <value>', line {line}: "
                                f"{text.strip()[:60]!r}; correct it, or extract the archive again")  # fmt: skip
            key, value = int(match[1]), match[2].strip().strip('"')
            if self.get(key, value) != value:
                raise DataError(f"{path}, line {line}: number {key} has another value in line {self.lines[key]}: "
                                "remove one of them")  # fmt: skip
            self[key] = value
            self.lines.setdefault(key, line)

    def at(self, key: int) -> str:
        """File and line of a number, for a message."""
        return f"{self.path}, line {self.lines[key]}"


def read_columns(path: Path, columns: tuple[str, str]) -> dict[str, str]:
    """Read a table with a header, separated by comma, semicolon or tab, as the values of one column by another.

    Raises:
        DataError: a column is missing, a line lacks a value, two lines contradict each other, or a quotation mark is
            never closed; the line is named.
    """
    text = read_text(path)
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=header.count), skipinitialspace=True)
    rows = _lines(path, reader)
    _, first = next(rows, (1, []))
    names = [name.strip() for name in first]
    for column in columns:
        if column not in names:
            raise DataError(f"{path}, line 1: there is no column {column}: the first line has to name the columns "
                            f"{' and '.join(columns)}")  # fmt: skip
    key_at, value_at = (names.index(column) for column in columns)
    found: dict[str, str] = {}
    for line, row in rows:
        if not any(field.strip() for field in row):
            continue
        key, value = (row[at].strip() if at < len(row) else "" for at in (key_at, value_at))
        if not key or not value:
            lacking = columns[1] if key else columns[0]
            raise DataError(f"{path}, line {line}: there is no {lacking}: complete or remove the line")
        if found.setdefault(key, value) != value:
            raise DataError(f"{path}, line {line}: {key} has a line already, with another {columns[1]}: "
                            "remove one of them")  # fmt: skip
    return found


def _lines(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line of a table."""
    line = 1
    try:
        for row in reader:
            yield reader.line_num, row
            line = reader.line_num + 1
    except csv.Error as error:  # a field that is longer than any name
        raise DataError(f"{path}, line {line}: this cannot be read as a table ({error}): close the quotation mark, or "
                        "correct the line") from error  # fmt: skip

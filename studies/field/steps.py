"""Steps of a long study: each leaves a file with its result and with what that depends on, and is done only once."""

import json
import logging
import math
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tools import first_line
from tools.console import say
from tools.files import read_json, write_atomically
from tools.provenance import file_fingerprint

logger = logging.getLogger(__name__)


class Steps:
    """Runs the steps of a study.

    Attributes:
        failed: title and reason of each step that failed.
    """

    def __init__(self) -> None:
        self.failed: list[tuple[str, str]] = []

    def run(
        self, title: str, file: Path, made_of: Mapping[str, Any], work: Callable[[], dict[str, Any]],
        *, also: tuple[Path, ...] = (),
    ) -> dict[str, Any] | None:  # fmt: skip
        """Result of a step, from its file or else from its work; None if that fails, which is one line.

        The traceback of a failure is in ``<file>.error.txt``, since the line alone may not be enough to find a bug.

        Args:
            title: name of the step in messages.
            file: file of the result.
            made_of: everything that the result depends on; if any of it has changed, the work is done again.
            work: returns the result, of plain types.
            also: other files that the work writes; if one is missing or has changed, it is done again.
        """
        known = _plain(made_of)
        if (found := _read(file)) and found["made_of"] == known and found["files"] == _fingerprints(also):
            say(f"{title}: done before")
            return dict(found["result"])
        note = file.with_suffix(".error.txt")
        try:
            result = _plain(work())
        except Exception as error:  # whatever it is, the other steps are of use without this one
            self.fail(title, error, note)
            return None
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {"made_of": known, "files": _fingerprints(also), "result": result}
        write_atomically(file, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
        note.unlink(missing_ok=True)
        return result

    def fail(self, title: str, error: Exception, note: Path) -> None:
        """Print one line for a step that failed, and write the traceback of its error to a file, ``note``."""
        reason = first_line(error)
        self.failed.append((title, reason))
        logger.warning("%s failed: %s (%s)", title, reason, note)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, "".join(traceback.format_exception(error)).encode(errors="backslashreplace"))


def _read(file: Path) -> dict[str, Any] | None:
    """Content of the file of a step; None if there is none or it is damaged."""
    content = read_json(file) if file.is_file() else None
    return content if content and {"made_of", "files", "result"} <= content.keys() else None


def _fingerprints(files: tuple[Path, ...]) -> dict[str, str]:
    return {file.name: file_fingerprint(file) for file in files}


def _plain(values: Any) -> Any:
    """Values as JSON stores them: lists for tuples, null for what is not finite."""
    if isinstance(values, Mapping):
        return {str(key): _plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None
    return values if values is None or isinstance(values, bool | int | float | str) else str(values)

"""What was wrong about a start: its exit code, its messages, its files or its time."""

import json
import re
import signal
from pathlib import Path

from PIL import Image

from studies.chaos.run import Ended
from studies.chaos.scene import DONE, INTERRUPTED, MEANINGS, PREEMPTED, REFUSED, Start
from tools import ToolError, checkpoint

CODES_WITH_ONE_LINE = (REFUSED, INTERRUPTED, PREEMPTED)


def faults_of(start: Start, ended: Ended, *, seconds: float) -> list[str]:
    """Everything wrong about how a start ended, apart from its files; empty if it is right.

    Args:
        start: the start, with its right exit codes.
        ended: its end.
        seconds: bound between a signal or an error line and the end of all processes.
    """
    faults = []
    killed = start.signal == signal.SIGKILL and ended.code == -signal.SIGKILL
    lines = messages(ended.err)
    if ended.hung:
        faults.append(f"it was still alive after {ended.seconds:.0f} s")
    elif ended.since_shown > seconds:
        faults.append(f"it ended {ended.since_shown:.1f} s after the signal or the first message")
    if "Traceback" in ended.out + ended.err:
        faults.append("traceback")
    if ended.code not in start.codes and not killed and not ended.hung:
        faults.append(
            f"exit code {ended.code}, not {' or '.join(f'{code} ({MEANINGS[code]})' for code in start.codes)}"
        )
    if ended.code in CODES_WITH_ONE_LINE and len(lines) > 1:
        faults.append(f"{len(lines)} lines on standard error instead of one")
    if ended.code == DONE and lines:
        faults.append(f"success, but standard error has {lines[-1]!r}")
    if ended.code == REFUSED and not (lines and lines[-1].startswith(f"{start.script}.py: error: ")):
        faults.append("the last line on standard error is no error line of the script")
    if ended.code == REFUSED and start.says not in ended.err:
        faults.append(f"the message does not name {start.says!r}")
    if start.unwanted and start.unwanted.exists():
        faults.append(f"{start.unwanted} exists")
    return faults


def messages(err: str) -> list[str]:
    """Lines of standard error but for notes and progress bars."""
    lines = err.replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and ": note: " not in line and not re.match(r"[\w /]+: .*\|", line)]


def files_of(folder: Path) -> dict[Path, bytes]:
    """Content of the regular files below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def damaged_files(before: dict[Path, bytes], folder: Path, *, killed: bool = False, refused: bool = False) -> list[str]:
    """Faults of the files below a folder: lost, partial or, though the start was refused, replaced ones.

    Args:
        before: its files before the start, which may be damaged as they are.
        folder: the folder.
        killed: SIGKILL ended the start, so that temporary files remain.
        refused: it was refused, so that no checkpoint may change.
    """
    after = files_of(folder)
    faults = [f"{path.name} is gone" for path in before if path not in after and path.suffix != ".part"]
    for path, content in after.items():
        old = before.get(path)
        if content == old:
            continue
        if path.suffix == ".part" or path.name.startswith(".probe"):
            faults += [] if killed else [f"{path.name} is left behind"]
        elif refused and old is not None and path.suffix == ".pth":
            faults.append(f"{path.name} was replaced")
        elif reason := _fault(path):
            faults.append(f"{path.name} is not whole ({reason})")
    return faults


def _fault(path: Path) -> str:
    """Why a written file is not whole; "" if it is."""
    try:
        if path.suffix == ".pth":
            checkpoint.load(path)
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
    except (ToolError, ValueError, OSError) as error:
        return str(error)
    return ""

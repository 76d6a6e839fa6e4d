"""Start of a script under limits and signals, with the times at which it prints, until all its processes have ended."""

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, NamedTuple

from studies.chaos.scene import ROOT, Start

POLL_SECONDS = 0.02
KILL_SECONDS = 10.0  # a busy machine takes a while until what it has killed is gone


class Ended(NamedTuple):
    """What came of a start.

    Attributes:
        code: exit code; negative for a signal that ended it.
        out, err: what it printed.
        seconds: from the start to the end of all its processes.
        since_shown: from the signal, or the first line on standard error that is no note, to that end.
        hung: it, or a process that it started, lived on after the limit and was killed.
    """

    code: int
    out: str
    err: str
    seconds: float
    since_shown: float
    hung: bool


def run(start: Start, *, limit: float) -> Ended:
    """Start a script, send its signal, and wait for the end of all processes of its session."""

    def restrict() -> None:
        for name, value in start.limits.items():
            number = getattr(resource, f"RLIMIT_{name}")
            resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    began = time.monotonic()
    process = subprocess.Popen(
        start.command(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **start.environment}, preexec_fn=restrict,
    )  # fmt: skip
    out, err = _Lines(process.stdout), _Lines(process.stderr)
    sent = _send(start, process, out, began + limit) if start.signal else None
    while _alive(process) and time.monotonic() < began + limit:
        time.sleep(POLL_SECONDS)
    hung = _alive(process)
    end = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    while _alive(process) and time.monotonic() < end + KILL_SECONDS:
        time.sleep(POLL_SECONDS)
    shown = sent or next((at for at, line in [*err.lines] if line.strip() and ": note: " not in line), end)
    return Ended(code, out.text(), err.text(), end - began, end - shown, hung)


class _Lines:
    """Lines of a pipe and the times at which they came."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe
        self.pipe, self.lines = pipe, list[tuple[float, str]]()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self.pipe:
            self.lines.append((time.monotonic(), line.decode(errors="backslashreplace")))

    def text(self) -> str:
        self.thread.join(timeout=5)
        return "".join(line for _, line in self.lines)


def _send(start: Start, process: subprocess.Popen[bytes], out: _Lines, until: float) -> float:
    """Send the signal of a start at its moment; returns the time."""
    while process.poll() is None and time.monotonic() < until:
        if any(start.after in line for _, line in [*out.lines]) if start.after else _handles_signals(process.pid):
            break
        time.sleep(POLL_SECONDS)
    time.sleep(start.delay)
    if process.poll() is None:
        os.kill(process.pid, start.signal)
    return time.monotonic()


def _handles_signals(pid: int) -> bool:
    """Whether a process has set a handler of SIGTERM; before that, Python itself is starting."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True  # ended
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def _alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process, or another one of its session, lives; the dead that nobody has waited for do not count."""
    if process.poll() is None:
        return True
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, _, _, session = entry.read_text(errors="replace").rpartition(")")[2].split()[:4]
            if int(session) == process.pid and state not in "ZX":
                return True
    return False

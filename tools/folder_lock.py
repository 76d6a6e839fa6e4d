"""Locks of files that several programs may write: a file beside them, created exclusively, that names its holder.

Exclusive creation is atomic on every file system, also on those without ``flock`` or between the machines of a network.
A lock outlasts a killed holder, so a dead one is detected: on the same machine by its process, on another one and on
Windows by the time of the lock file, which a living holder renews.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from tools import ToolError
from tools.console import say
from tools.distributed import is_main
from tools.distributed.launch import command_line
from tools.files import check_outputs, read_json, writable_folder, write_atomically

RENEWAL_SECONDS = 30.0
STALE_SECONDS = 180.0  # without renewal, a holder on another machine is dead; NFS may show a time a minute late
UPDATE_SECONDS = 30.0  # longest wait for another program to rewrite a small file
POLL_SECONDS = 0.05
CAN_ASK = os.name != "nt"  # whether signal 0 asks for a process; on Windows it is Ctrl-C for the whole console
SETTLE_SECONDS = 0.2  # after a takeover, for another program that does the same


class Lock:
    """Lock file of this process.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, pid = path, os.getpid()
        self.own = {"token": secrets.token_hex(8), "host": socket.gethostname(), "machine": _machine(), "pid": pid,
                    "process": _process(pid), "command": command_line(),
                    "since": datetime.now().astimezone().isoformat(" ", "seconds")}  # fmt: skip

    def holder(self) -> dict[str, Any] | None:
        """Content of the lock file; None without the file, empty if it is being written or is damaged."""
        try:
            return read_json(self.path) or {}
        except FileNotFoundError:
            return None

    def create(self) -> bool:
        """Create the lock file; False if there is one."""
        try:
            file = self.path.open("x", encoding="utf-8")
        except FileExistsError:
            return False
        try:
            with file:
                json.dump(self.own, file)
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise ToolError(f"{self.path} cannot be written ({error.strerror}): free some space") from error
        return True

    def take_over(self) -> bool:
        """Replace the lock of a dead holder; False if another program was faster."""
        write_atomically(self.path, json.dumps(self.own).encode())
        time.sleep(SETTLE_SECONDS)
        return self.is_own()

    def is_own(self) -> bool:
        """Whether this process holds the lock."""
        return (self.holder() or {}).get("token") == self.own["token"]

    def acquire(self) -> None:
        """Take the lock, of a dead holder, too; whether one on another machine lives may take ``STALE_SECONDS`` to see.

        Raises:
            ToolError: another process holds it.
        """
        check_outputs(self.path)
        first, deadline = 0, 0.0
        while not self.create():
            try:
                renewed = self.path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            holder = self.holder()
            if holder is None:
                continue
            alive = _is_alive(holder)
            if not first:
                first, left = renewed, STALE_SECONDS - self._age(renewed)
                deadline = time.monotonic() + left
                if alive is None and left > 0:
                    say(f"{self.path}: waiting up to {left:.0f} s to see whether {_named(holder)} still runs")
            if alive or (alive is None and renewed != first):
                raise ToolError(f"{self.path.parent} is in use by {_named(holder)}, which writes the same files "
                                f"({self.path.name}): wait for it, stop it, or give another --output_dir")  # fmt: skip
            if alive is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            elif self.take_over():
                return

    def _age(self, renewed: int) -> float:
        """Seconds since a time in ns, by the clock of the file system; at least 0."""
        probe = self.path.with_name(f"{self.path.name}.{self.own['token']}")
        probe.touch()
        now = probe.stat().st_mtime_ns
        probe.unlink()
        return max(0.0, (now - renewed) / 1e9)

    def check(self) -> None:
        """Raise if the lock is lost; create it again if somebody has removed it.

        Raises:
            ToolError: another process has taken it over.
        """
        if not self.is_own() and not self.create():
            raise ToolError(f"{self.path.parent} was taken over by {_named(self.holder() or {})} while this process "
                            "was suspended or cut off: what was saved before is there; stop one of both")  # fmt: skip

    def release(self) -> None:
        """Remove the lock file, unless it is another process's."""
        with suppress(OSError):
            if self.is_own():
                self.path.unlink()

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the time of the lock file while the body runs."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(RENEWAL_SECONDS):
                with suppress(OSError):
                    if self.is_own():
                        os.utime(self.path)

        threading.Thread(target=renew, name="lock", daemon=True).start()
        try:
            yield
        finally:
            ended.set()


@contextmanager
def held(folder: str, name: str) -> Iterator[Lock | None]:
    """Create a folder and hold the lock ``<name>.lock`` in it, on the main process; None on the others.

    Args:
        folder: the folder; empty for a run that saves nothing, and has no lock.
        name: name of the run; runs of other names may use the folder at the same time.

    Raises:
        ToolError: the folder cannot be written, or another process holds the lock.
    """
    if not folder or not is_main():
        yield None
        return
    lock = Lock(writable_folder(folder) / f"{name}.lock")
    lock.acquire()
    try:
        with lock.renewed():
            yield lock
    finally:
        lock.release()


@contextmanager
def updating(path: Path) -> Iterator[None]:
    """Keep other programs from rewriting a file that the body reads and rewrites.

    A holder that is dead, or takes longer than ``UPDATE_SECONDS``, is not waited for.
    """
    lock = Lock(path.with_name(f"{path.name}.lock"))
    check_outputs(lock.path)
    end = time.monotonic() + UPDATE_SECONDS
    while not lock.create():
        holder = lock.holder()
        late = time.monotonic() > end
        if holder is not None and (late or _is_alive(holder) is False) and (lock.take_over() or late):
            break
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _named(holder: Mapping[str, Any]) -> str:
    """Holder of a lock in words."""
    if "pid" not in holder:
        return "an unknown process"
    words = {name: str(holder.get(name, "?"))[:200] for name in ("pid", "host", "since", "command")}
    return f"process {words['pid']} on {words['host']} (since {words['since']}: {words['command']})"


def _machine() -> str:
    """Identity of the set of processes that this one sees: the start of the machine, and the container on it."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process(pid: int) -> str:
    """Start of a process in ticks of the machine, which tells it from a later one of the same id; "ended" for a zombie.

    Empty where the system does not say it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _is_alive(holder: Mapping[str, Any]) -> bool | None:
    """Whether the holder of a lock runs; None on another machine, in another container, or where it cannot be asked."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0 or not CAN_ASK:
        return None
    if (holder.get("host"), holder.get("machine")) != (socket.gethostname(), _machine()):
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    return _process(pid) in ("", holder.get("process"))

"""End of a process and its workers within seconds, even if a thread or a worker is stuck."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

GRACE_SECONDS = 6.0  # for clean-up, after the message that says why a process ends
REAP_SECONDS = 2.0  # for killed workers to disappear, unless the system cannot end them
TEMPORARY_FILES: set[str] = set()  # that are being written; removed where a process ends at once
_succeeded = False  # whether this process is a script that has done its work


def end_workers() -> None:
    """Kill the processes that this one has started through multiprocessing, the workers of its loaders.

    Workers ignore a scheduler's signals and may be stuck in a file system or a decoder, so asking them to end and
    waiting for it, as torch and multiprocessing do, may take forever. They hold nothing that must be saved.
    """
    import multiprocessing  # not at the top: scripts import this module first, to handle signals early

    workers = multiprocessing.active_children()
    if not workers:
        return
    # torch's handler would report the killed workers as a failure; only the main thread may replace a handler.
    before = None
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()
    end = time.monotonic() + REAP_SECONDS
    for worker in workers:
        worker.join(timeout=max(0.0, end - time.monotonic()))
    if before is not None:
        signal.signal(signal.SIGCHLD, before)


def exit_now(code: int) -> NoReturn:
    """End this process at once, without waiting for threads, finalizers or other processes."""
    for stream in (sys.stdout, sys.stderr):
        # Nobody reads the stream any more, or a signal has interrupted a print.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            stream.flush()
    for path in list(TEMPORARY_FILES):
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - without pathlib, as scripts import this module first
    os._exit(code)


def finish(code: int) -> NoReturn:
    """End a script: after success with its exit handlers, else at once, since a failed part may still be waiting."""
    global _succeeded
    if code:
        exit_now(code)
    _succeeded = True
    sys.exit(0)


@atexit.register
def _skip_teardown() -> None:
    """End a script that has succeeded before Python frees each object of torch, which takes up to a second.

    Scripts import this module first, so that all other exit handlers have run by then.
    """
    if _succeeded:
        exit_now(0)


@contextlib.contextmanager
def exit_deadline(code: int) -> Iterator[None]:
    """End the process with an exit code if the body takes longer than ``GRACE_SECONDS``."""
    last_resort = threading.Timer(GRACE_SECONDS, exit_now, (code,))
    last_resort.daemon = True
    with contextlib.suppress(RuntimeError):  # no more threads can be started: the process then ends without a deadline
        last_resort.start()
    try:
        yield
    finally:
        last_resort.cancel()


@contextlib.contextmanager
def silent_finalizers() -> Iterator[None]:
    """Print nothing about the destructors of what a reported error left half built."""
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        yield
    finally:
        sys.unraisablehook = before

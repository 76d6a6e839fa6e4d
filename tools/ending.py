"""The end of a process and of what it has started: within seconds, whatever else still waits or is stuck."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

GRACE = 6.0  # seconds for letting go of everything, after the line that says why a process ends
REAPING = 2.0  # seconds in which killed workers are gone, unless the system cannot end them either
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # what asks a process to end or to save


def end_workers() -> None:
    """Kill the processes that this one has started through multiprocessing: the workers of its loaders.

    They leave the signals of a scheduler to this process and may be stuck in a file system or a decoder, so whoever
    asks them to end and then waits, as torch and multiprocessing do, may wait for ever. What they hold is pictures,
    which are nothing to save.
    """
    workers = multiprocessing.active_children()
    if not workers:
        return
    # torch takes a worker's end for a failure and raises it in the main thread, the only one that may change that.
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()
    end = time.monotonic() + REAPING
    for worker in workers:
        worker.join(timeout=max(0.0, end - time.monotonic()))
    if before is not None:
        signal.signal(signal.SIGCHLD, before)


def leave(code: int) -> NoReturn:
    """End this process at once, without what Python would wait for: threads, finalizers, other processes."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def finish(code: int) -> NoReturn:
    """End a script: in Python's usual way if all went well, and else at once, since what failed may still wait."""
    if code:
        leave(code)
    sys.exit(code)


@contextlib.contextmanager
def ending(code: int) -> Iterator[None]:
    """Whatever is let go of while this is entered, the process ends with a code before long."""
    last_resort = threading.Timer(GRACE, leave, (code,))
    last_resort.daemon = True
    last_resort.start()
    try:
        yield
    finally:
        last_resort.cancel()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Another signal that asks for the end comes too late: the process ends already, with the code of the first."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ASKING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set by Python

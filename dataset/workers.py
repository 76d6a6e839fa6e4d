"""Set-up of the worker processes that load pictures: their number, the signals they ignore, when they end."""

import atexit
import contextlib
import ctypes
import multiprocessing
import multiprocessing.queues
import os
import signal
import sys
from collections.abc import Iterator

# Handled by the parent, ignored by workers; and those of faults. Windows has neither SIGUSR1 nor SIGBUS.
PARENT_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
FAULTS = [getattr(signal, name) for name in ("SIGBUS", "SIGSEGV", "SIGFPE") if hasattr(signal, name)]
PR_SET_PDEATHSIG = 1  # option of prctl(2): signal to be sent when the parent ends


def usable_workers(num_workers: int) -> int:
    """Limit the number of workers to the cores that this process may run on; more would only compete for them."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(num_workers, bound)


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Block the signals that the parent handles, until each worker that is started here ignores them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PARENT_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def tie_to_parent(parent: int, worker: int) -> None:
    """Set up a worker so that it ends when, and only when, the process that it loads for ends.

    Args:
        parent: id of that process.
        worker: index of the worker, from torch.
    """
    # A signal to the whole process group is handled by the parent, which saves its state and then ends its workers.
    for number in PARENT_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # torch's handlers would print a line each, but the parent reports the failure.
    for number in FAULTS:
        signal.signal(number, signal.SIG_DFL)
    # A batch that cannot be sent would only print a traceback, and the parent would wait for it forever.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_exit_unsent)  # type: ignore[attr-defined]
    # torch checks every 5 s, and only between two batches, whether the parent is alive; the kernel acts at any time.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if multiprocessing.get_start_method() == "fork" and os.getppid() != parent:
            os._exit(1)  # the parent ended before prctl


def _exit_unsent(error: Exception, batch: object) -> None:
    """End a worker that could not send a batch; runs in its sending thread."""
    os._exit(1)


@atexit.register
def kill_remaining_workers() -> None:
    """Kill the workers of unfinished loaders when the process exits.

    multiprocessing would send SIGTERM, which workers ignore, and then wait for them forever. This function is
    registered after multiprocessing's own exit handler and therefore runs first.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report them as a failure
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()

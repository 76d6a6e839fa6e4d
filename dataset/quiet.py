"""Silence of the warnings of decoders, in any number of threads."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_outermost = ExitStack()  # restores the filters of the process
_inside = 0  # number of threads that want silence now
if hasattr(os, "register_at_fork"):  # a process must not start with a lock that a thread of its parent holds
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore warnings while a picture is decoded.

    ``warnings.catch_warnings`` changes the filters of the whole process: of several threads in it, one could restore
    what another has set, for good. Here the first one in sets the filters, and the last one out restores them.
    """
    global _inside
    with _lock:
        if not _inside:
            _outermost.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _outermost.close()

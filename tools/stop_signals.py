"""Stop signals SIGINT, SIGTERM and SIGUSR1: a script ends with one line and an exit code, whenever one arrives.

While a script imports its modules, the handler ends the process itself, since an import may swallow an exception. From
then on it raises one in the main thread, except where the signal is noted and acted on later: in training, where
:class:`tools.distributed.preemption.StopRequest` stops after a step, and while a file is written.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from tools import ending

USER_SIGNALS = [signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []  # none on Windows
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *USER_SIGNALS)  # requests to end, or to save and end
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as in shells
EXIT_RESUME = 75  # EX_TEMPFAIL of sysexits.h: not finished, try again


class Preempted(KeyboardInterrupt):
    """Exception raised by SIGTERM and SIGUSR1 outside of training; its text is the name of the signal."""


def ended_by(script: str, error: KeyboardInterrupt) -> tuple[str, int]:
    """Line that says which signal ended a script, and the exit code."""
    if isinstance(error, Preempted):
        return f"{script}: {error}: ended before it was done; start it again with the same command", EXIT_RESUME
    return f"{script}: interrupted", EXIT_INTERRUPTED


class _Handler:
    """Handler of the stop signals of a script; only the first one that arrives has an effect.

    Attributes:
        raises: whether it raises an exception; otherwise it ends the process.
        error: what the first signal means.
    """

    def __init__(self, script: str) -> None:
        self.script, self.process = script, os.getpid()
        self.raises = False
        self.error: KeyboardInterrupt | None = None

    def __call__(self, number: int, frame: object) -> None:
        if self.error or os.getpid() != self.process:  # a worker that has not set up its own handlers yet
            return
        self.error = _meaning(number)
        if self.raises:
            raise self.error
        self.end(self.error)

    def end(self, error: KeyboardInterrupt) -> NoReturn:
        """Print the line and end the process."""
        line, code = ended_by(self.script, error)
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))  # the signal may have interrupted a print
        ending.exit_now(code)

    def start(self) -> None:
        """End the process also where Python would show a traceback, or cannot call the handler for long."""
        show, show_unraisable = sys.excepthook, sys.unraisablehook

        def at_top(kind: Any, error: BaseException, trace: Any) -> None:
            self.end(error) if isinstance(error, KeyboardInterrupt) else show(kind, error, trace)

        def where_swallowed(unraisable: Any) -> None:  # a finalizer, for example
            error = unraisable.exc_value
            self.end(error) if isinstance(error, KeyboardInterrupt) else show_unraisable(unraisable)

        sys.excepthook, sys.unraisablehook = at_top, where_swallowed
        receiver, self.sender = socket.socketpair()  # before Python 3.12, a pipe on Windows is always blocking
        self.sender.setblocking(False)
        signal.set_wakeup_fd(self.sender.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(receiver,), name="stop signals", daemon=True).start()

    def _watch(self, receiver: socket.socket) -> None:
        """End the process if the main thread, in a long call outside Python, does not act on a signal."""
        while numbers := receiver.recv(64):
            for number in numbers:
                if self._handles(number):
                    time.sleep(ending.GRACE_SECONDS)
                    if self._handles(number):  # else main has ended, and says so itself
                        self.end(self.error or _meaning(number))

    def _handles(self, number: int) -> bool:
        current: Any = signal.getsignal(number)
        return number in STOP_SIGNALS and current is self


_of_process: _Handler | None = None


def _meaning(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Preempted(signal.Signals(number).name)


def _set(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set outside Python


def _handlers(handler: _Handler) -> dict[signal.Signals, Any]:
    """The handler for all stop signals, except SIGINT where it is ignored, as in a shell's background jobs."""
    background = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return {number: handler for number in STOP_SIGNALS if not (background and number == signal.SIGINT)}


def end_on_stop_signals(script: str) -> None:
    """Let a stop signal end this process with a line and its exit code from now on; called once, by a script.

    Args:
        script: its name, printed before the line.
    """
    global _of_process
    _of_process = _Handler(script)
    _set(_handlers(_of_process))
    _of_process.start()


@contextlib.contextmanager
def raise_on_stop_signals(script: str) -> Iterator[None]:
    """Raise KeyboardInterrupt or Preempted at the first stop signal in the body; a script ignores signals after it.

    Args:
        script: its name, printed before the line.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = _of_process or _Handler(script)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handler.raises = True
    _set(_handlers(handler))
    try:
        yield
    finally:
        _set(dict.fromkeys(STOP_SIGNALS, signal.SIG_IGN) if _of_process else before)


@contextlib.contextmanager
def ignore_stop_signals() -> Iterator[None]:
    """Ignore further requests to end, so that the exit code stays that of the first."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        _set(before)


@contextlib.contextmanager
def hold_stop_signals(arrived: Callable[[], None] | None = None) -> Iterator[None]:
    """Complete the body, such as saving a file; a stop signal that arrives in it has its effect afterwards.

    Args:
        arrived: is called when one arrives, unless it is ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: object) -> None:
        held.append(number)
        if arrived and before[signal.Signals(number)] is not signal.SIG_IGN:
            arrived()

    before = {number: signal.signal(number, hold) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        _set(before)
        for number in dict.fromkeys(held):
            signal.raise_signal(number)

"""Preemption: save and stop after SIGTERM or SIGUSR1, which Slurm can send before it ends a job."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import distributed

from tools.distributed import active
from tools.stop_signals import USER_SIGNALS

SIGNALS = (signal.SIGTERM, *USER_SIGNALS)
CHECK_SECONDS = 1.0  # between two checks whether any process got a signal


class Interrupted(Exception):
    """Exception that ends a run after a signal; its state is saved, and the message says how to continue."""


class StopRequest:
    """Context manager in which SIGTERM and SIGUSR1 do not end the program but request a stop.

    Call it after each step: it returns whether to stop, on all processes after the same step. A signal may reach only
    one process, or each at a different time, and a process that stopped alone would leave the others waiting. It can be
    entered again, for the next run of a sweep.

    Args:
        device: device of the collectives.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.signal: str | None = None  # the name of the signal that came
        self._before: dict[signal.Signals, Any] = {}
        self._wait, self._steps, self._checked = 1, 0, time.monotonic()

    def __enter__(self) -> "StopRequest":
        self._wait, self._steps, self._checked = 1, 0, time.monotonic()
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether to stop; every process must call it the same number of times."""
        if not active():
            return self.signal is not None
        self._steps += 1
        if self._steps < self._wait:
            return False  # an exchange waits for the device, so about one per second is enough
        now = time.monotonic()
        pace = self._steps * CHECK_SECONDS / max(now - self._checked, 1e-6)
        # One maximum over all processes: whether any got a signal, and the slowest pace, negated.
        both = torch.tensor([float(self.signal is not None), -max(pace, 1.0)], device=self.device)
        distributed.all_reduce(both, distributed.ReduceOp.MAX)
        asked, slowest = both.tolist()
        self._wait, self._steps, self._checked = int(-slowest), 0, time.monotonic()
        if asked and self.signal is None:
            self.signal = "a signal to another process"
        return bool(asked)

    def anywhere(self) -> bool:
        """Whether any process got a signal so far; every process must call it."""
        self._wait = 0
        return self()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name

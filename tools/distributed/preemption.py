"""Leaving in good order when the machine is wanted: SIGTERM, and SIGUSR1, which Slurm can send before it."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import distributed

from tools.distributed import active

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
LOOK_EVERY = 1.0  # seconds between two looks of several processes at each other's signals


class Interrupted(Exception):
    """A run that was asked to leave and has saved what it needs to go on; the message says how."""


class StopRequest:
    """While it is entered, SIGTERM and SIGUSR1 are noted instead of ending the program.

    Called after each step, it says whether to stop, on all processes after the same step: a signal may reach one of
    them only, or each at another moment, and whoever left alone would leave the others waiting.

    Args:
        device: on which the processes can talk to each other.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.signal: str | None = None  # the name of the signal that came
        self._before: dict[signal.Signals, Any] = {}
        self._wait, self._steps, self._looked = 1, 0, time.monotonic()

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether to stop; every process must call it equally often."""
        if not active():
            return self.signal is not None
        self._steps += 1
        if self._steps < self._wait:
            return False  # asking the others costs a wait for the device: about once a second is enough
        now = time.monotonic()
        pace = self._steps * LOOK_EVERY / max(now - self._looked, 1e-6)
        # The largest of all: whether anyone was asked to, and minus the slowest pace.
        both = torch.tensor([float(self.signal is not None), -max(pace, 1.0)], device=self.device)
        distributed.all_reduce(both, distributed.ReduceOp.MAX)
        asked, slowest = both.tolist()
        self._wait, self._steps, self._looked = int(-slowest), 0, time.monotonic()
        if asked and self.signal is None:
            self.signal = "a signal to another process"
        return bool(asked)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name

"""Repeated measurements of several things in turns, so that a busy moment of the machine does not hit one alone."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from tools.logger import progress

CPU = torch.device("cpu")
Action = Callable[[], object]


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was told; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_each(
    actions: Mapping[str, Action], *, rounds: int, title: str, device: torch.device = CPU
) -> dict[str, float]:  # fmt: skip
    """Median seconds of each action on a device over some rounds, after one that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in progress(range(rounds + 1), title):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            wait_for(device)
            if number:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}

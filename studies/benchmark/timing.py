"""Repeated timing of several actions in turn, so that other load on the machine affects all of them alike."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch

from tools.console import progress

CPU = torch.device("cpu")
Action = Callable[[], object]


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of this process on the cores for a CPU, of the wall clock for another device."""
    return time.process_time if device.type == "cpu" else time.perf_counter


def chosen_clock(run: argparse.Namespace, device: torch.device) -> Callable[[], float]:
    """The clock of ``--cpu_time``: without it, the wall clock."""
    return clock_of(device) if run.cpu_time else time.perf_counter


def process_seconds(action: Action) -> float:
    """Seconds of this process on the cores that an action takes, once."""
    start = time.process_time()
    action()
    return time.process_time() - start


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished its work; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int:
    """Largest number of bytes in use so far: on the device, or by the process for a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def matmul_rate(device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """Multiply-adds per second of a large matrix product: the most that the device reaches in practice."""
    side = 8192 if device.type == "cuda" else 2048
    factor = torch.randn(side, side, device=device).to(dtype)
    product = {"product": lambda: factor @ factor}
    taken = seconds_each(product, rounds=5, title="matrix product", device=device, clock=clock)
    return side**3 / taken["product"]


def seconds_each(
    actions: Mapping[str, Action], *, rounds: int, title: str, device: torch.device = CPU,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:  # fmt: skip
    """Median seconds of each action over some rounds, after a first round that is not counted.

    ``clock`` ``time.process_time`` counts only the seconds of this process on a core, which other load disturbs less.
    """
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in progress(range(rounds + 1), title):
        for name, action in actions.items():
            start = clock()
            action()
            wait_for(device)
            if number:
                taken[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in taken.items()}

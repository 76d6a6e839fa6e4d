"""Repeated measurements of several things in turns, so that a busy moment of the machine does not hit one alone."""

import statistics
import time
from collections.abc import Callable, Mapping

from tools.logger import progress

Action = Callable[[], object]


def seconds_each(actions: Mapping[str, Action], *, rounds: int, title: str) -> dict[str, float]:
    """Median seconds of each action over some rounds, after one that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in progress(range(rounds + 1), title):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if number:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}

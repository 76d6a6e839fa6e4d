"""Division of the cores of this process between computation and the loading of pictures (``--num_workers auto``)."""

import os
from typing import NamedTuple

import torch

from tools.console import say
from tools.core_limits import bound_cores
from tools.distributed.launch import cores
from tools.text import counted

MOST_WORKERS = 16  # of a process that computes on a GPU; each takes memory
CORES_PER_WORKER = 4  # where the CPU computes the model, which takes far longer than loading its pictures


class Division(NamedTuple):
    """Threads of the computation, and processes that load pictures."""

    threads: int
    workers: int


def division(own: int, *, threads: int | None, workers: int | None, on_cpu: bool) -> Division:
    """Divide the cores of a process so that its threads and loading processes do not compete for them.

    If the CPU computes the model, one core in four loads pictures; with fewer than four the computing process loads
    them between two steps. A GPU is fed by all cores but the one that drives it.

    Args:
        own: number of cores of this process.
        threads: number of threads if it is given (``OMP_NUM_THREADS``), else None.
        workers: number of loading processes if it is given, else None.
        on_cpu: whether the CPU computes the model.
    """
    if not on_cpu:
        usual = min(max(1, own - 1), MOST_WORKERS)
        return Division(threads or own, usual if workers is None else workers)
    usual = own // CORES_PER_WORKER
    if threads is None:
        threads = own - (usual if workers is None else min(usual, workers))
    elif workers is None:
        usual = max(0, min(own - threads, max(1, usual)))
    return Division(threads, usual if workers is None else workers)


def divide_cores(num_workers: int | str, device: torch.device) -> Division:
    """Set torch's number of threads, and say how the cores of this process are used.

    ``OMP_NUM_THREADS`` has priority: PyTorch has read it, and its number of threads stays.

    Args:
        num_workers: number of processes that load pictures, or ``auto`` to choose it; at most one per core.
        device: device of the model.
    """
    own = cores()
    given = torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else None
    workers = None if num_workers == "auto" else min(int(num_workers), bound_cores())
    chosen = division(own, threads=given, workers=workers, on_cpu=device.type == "cpu")
    if given is None:
        torch.set_num_threads(chosen.threads)
    say(f"{device.type}, {counted(own, 'core')}: {counted(chosen.threads, 'thread')}, pictures are loaded by "
        f"{counted(chosen.workers, 'process', 'es') if chosen.workers else 'this process'}")  # fmt: skip
    return chosen

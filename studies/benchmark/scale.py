"""Training by one and by several processes of this machine: pictures per second and efficiency."""

import argparse
import os
import socket
import time
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing import get_context

from studies.benchmark.steps import Variant, model, training
from tools import ToolError
from tools.distributed import close, init, join, wrap
from tools.machine import keep_freed_memory

CLASSES = 10
STEPS = {True: 3, False: 10}


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure 1, 2, 4 ... processes, each with a GPU or a core and ``--batch_size`` pictures; returns table rows."""
    most = torch.cuda.device_count() if device.type == "cuda" else os.cpu_count() or 1
    rows: list[dict[str, Any]] = []
    world = 1
    while world <= most:
        rate = together(run, device.type, world)
        alone = rows[0]["pictures/s"] if rows else rate
        rows.append({"scale": f"{world} processes", "pictures/s": rate, "of perfect": rate / (alone * world)})
        world *= 2
    return rows


def together(run: argparse.Namespace, kind: str, world: int) -> float:
    """Pictures per second of ``world`` new processes, each with its own thread count.

    Raises:
        ToolError: a process failed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("spawn")
    rates = context.SimpleQueue()
    workers = [context.Process(target=work, args=(run, kind, rank, world, port, rates)) for rank in range(world)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    codes = {rank: worker.exitcode for rank, worker in enumerate(workers) if worker.exitcode}
    if codes:
        raise ToolError(f"scale: {world} processes failed, exit codes by rank {codes}: see the errors above")
    return rates.get()


def work(run: argparse.Namespace, kind: str, rank: int, world: int, port: int, rates: Any) -> None:
    """Train in one process, at the same time and with the same number of steps as all others."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank),
                   "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}  # fmt: skip
    if kind == "cpu":
        torch.set_num_threads(1)  # one core per process, even for a single one, for a fair comparison
        keep_freed_memory()
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    join()
    init(device)
    variant = Variant("", channels_last=run.channels_last)
    parallel = wrap(model(run, device, variant, CLASSES, use_slot=True), device)
    train_step = training(run, device, variant, parallel, CLASSES)
    for step in range(STEPS[run.quick] + 2):
        if step == 2:  # the first two are slower
            distributed.barrier()
            start = time.perf_counter()
        train_step()
    if kind == "cuda":
        torch.cuda.synchronize(device)
    distributed.barrier()
    if rank == 0:
        rates.put(STEPS[run.quick] * run.batch_size * world / (time.perf_counter() - start))
    close()

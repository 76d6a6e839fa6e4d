"""Distributed calls that work in a single process, too: a world of size one."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from tools import ToolError, first_line
from tools.distributed import launch
from tools.distributed.heartbeat import Heartbeat

logger = logging.getLogger(__name__)

JOIN_TIMEOUT = timedelta(minutes=5)  # for all processes to join
# Processes wait for a long phase of another one through the store (heartbeat.py), where a dead process is found within
# a minute. This timeout is only for a bug: processes that wait for different collectives.
COLLECTIVE_TIMEOUT = timedelta(minutes=30)
_launch_store: distributed.Store | None = None  # store of all attempts of the launch
_store: distributed.Store | None = None  # store of this attempt
_heartbeat: Heartbeat | None = None
_main_first_calls = 0


def join(*, dist_url: str = "env://", world_size: int = 1) -> None:
    """Join the other processes of the launch; without a launcher do nothing.

    From here on the processes end together, and only the first one to fail prints its message.

    Args:
        dist_url: rendezvous address of the processes.
        world_size: number of processes according to --world_size; the launcher's number has priority.

    Raises:
        ToolError: --world_size asks for several processes but no launcher started them, or one does not join.
    """
    global _launch_store, _store, _heartbeat
    launch.adopt()
    if not launch.launched():
        if world_size > 1:
            raise ToolError(f"--world_size {world_size}, but no launcher started this process: use torchrun "
                            f"--nproc_per_node={world_size} train.py ...")  # fmt: skip
        return
    own, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        store, _, _ = next(iter(distributed.rendezvous(dist_url, own, size, timeout=JOIN_TIMEOUT)))
    except (RuntimeError, ValueError) as error:
        raise ToolError(f"the process group at {dist_url} cannot be formed: {first_line(error)}") from error
    # torchrun keeps one store for all its attempts, so the keys of each attempt need their own prefix.
    _launch_store = distributed.PrefixStore("launch", store)
    _store = distributed.PrefixStore(f"attempt{launch.restarts()}", store)
    if size > 1:
        _heartbeat = Heartbeat(_store, rank=own, world_size=size, joining=JOIN_TIMEOUT.total_seconds())
    if world_size not in (1, size):
        logger.warning("--world_size %d, but the launcher started %d processes", world_size, size)


def init(device: torch.device) -> None:
    """Form the process group after :func:`join`.

    Args:
        device: the group uses NCCL for cuda, else gloo.

    Raises:
        ToolError: the group cannot be formed.
    """
    if _store is None:
        return
    if device.type == "mps":
        raise ToolError("--device mps: several processes cannot share it; give --device cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        _take_gpu(str(torch.cuda.get_device_properties(device).uuid))
    _store.set_timeout(COLLECTIVE_TIMEOUT)
    try:
        distributed.init_process_group(
            backend="nccl" if device.type == "cuda" else "gloo",
            store=_store,
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=COLLECTIVE_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise ToolError(f"the process group cannot be formed: {first_line(error)}") from error


def _take_gpu(uuid: str) -> None:
    """Reserve a GPU for this process: NCCL fails with two processes on one GPU, and its message is unclear."""
    assert _store is not None
    owner = _store.compare_set(f"gpu/{uuid}", "", os.environ["RANK"]).decode()
    if owner != os.environ["RANK"]:
        raise ToolError(f"ranks {owner} and {os.environ['RANK']} are on the same GPU: start one process per GPU, or "
                        "give --device cpu")  # fmt: skip


def active() -> bool:
    """Whether this process belongs to a group."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Rank of this process, from 0."""
    if active():
        return distributed.get_rank()
    return _heartbeat.rank if _heartbeat else 0


def world_size() -> int:
    """Number of processes."""
    if active():
        return distributed.get_world_size()
    return _heartbeat.world_size if _heartbeat else 1


def local_world_size() -> int:
    """Number of processes of the group on this machine."""
    return launch.local_processes() if active() else 1


def is_main() -> bool:
    """Whether this is rank 0, the process that prints and writes."""
    return rank() == 0


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of a tensor over all processes, on each of them."""
    if active():
        distributed.all_reduce(values)
    return values


def max_over_processes(values: Tensor) -> Tensor:
    """Element-wise maximum of a tensor over all processes, on each of them."""
    if active():
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return values


def gather(items: list[Any]) -> list[Any]:
    """Items of all processes in the order of their ranks, on every process."""
    if not active():
        return items
    barrier()  # a slow process may be an hour behind, too long for a collective
    parts: list[list[Any]] = [[] for _ in range(world_size())]
    distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def share_buffers(model: nn.Module) -> None:
    """Copy the buffers (batch-norm statistics) of rank 0 to all processes, so that they evaluate the same model."""
    if active():
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a model so that its gradients are averaged over the processes; a single process gets the model itself."""
    if not active():
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def barrier() -> None:
    """Wait for all processes, without a time limit."""
    if _heartbeat:
        _heartbeat.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """Run the body on rank 0 first, without a time limit, so that the others find its downloads in place.

    If it fails on rank 0, the others run it as well and meet the same error.
    """
    global _main_first_calls
    _main_first_calls += 1
    key = f"first/{_main_first_calls}"
    if _heartbeat and not is_main():
        _heartbeat.wait(key)
    try:
        yield
    finally:
        if _heartbeat and is_main():
            _heartbeat.open(key)


def fail(text: str, code: int) -> int:
    """Print why the program ends and return the exit code; a process of a group ends here, with all others."""
    if _heartbeat:
        _heartbeat.fail(text, code)
    print(text, file=sys.stderr, flush=True)
    return code


def check_connection(error: Exception) -> None:
    """End the program if a collective failed because another process is gone; return after any other error."""
    from_collective = isinstance(error, distributed.DistError) or "gloo" in str(error)
    if _heartbeat and isinstance(error, RuntimeError) and from_collective:
        _heartbeat.connection_lost(first_line(error))


def remember(name: str, value: str) -> None:
    """Store a value for later attempts of this launch (``torchrun --max-restarts``)."""
    if _launch_store and is_main():
        _launch_store.set(name, value)


def recall(name: str) -> str | None:
    """Value that this attempt or an earlier one stored with :func:`remember`; None without one."""
    return _launch_store.get(name).decode() if _launch_store and _launch_store.check([name]) else None


def close() -> None:
    """Leave the group, together with the others."""
    global _launch_store, _store, _heartbeat
    if _heartbeat:
        _heartbeat.leave()
    if active():
        distributed.destroy_process_group()
    _launch_store = _store = _heartbeat = None

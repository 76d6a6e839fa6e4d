"""One process or many behind the same calls: a single process is a world of size one."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from tools import ToolError
from tools.distributed import launch
from tools.distributed.heartbeat import Peers

logger = logging.getLogger(__name__)

JOINING = timedelta(minutes=5)  # in which all processes have to come
# For one collective. Long phases of one process are waited for through the store (tools/peers.py), and a dead one is
# found there within a minute, so this ends what should not be: processes that wait for different things.
TIMEOUT = timedelta(minutes=30)
_launch: distributed.Store | None = None  # of all attempts of the launch
_store: distributed.Store | None = None  # of this attempt
_peers: Peers | None = None
_firsts = 0  # phases in which the first process went first


def join(*, dist_url: str = "env://", world_size: int = 1) -> None:
    """Meet the other processes of the launch; nothing to do without one.

    From here on the processes end together, and what the first one to fail says is shown once.

    Args:
        dist_url: where the processes meet.
        world_size: how many processes the user means to run; the launcher's number counts.

    Raises:
        ToolError: more than one process is meant but none was launched, or they do not meet.
    """
    global _launch, _store, _peers
    launch.adopt()
    if not launch.launched():
        if world_size > 1:
            raise ToolError(f"--world_size {world_size}, but no launcher started this process: use torchrun "
                            f"--nproc_per_node={world_size} train.py ...")  # fmt: skip
        return
    own, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        store, _, _ = next(iter(distributed.rendezvous(dist_url, own, size, timeout=JOINING)))
    except (RuntimeError, ValueError) as error:
        raise ToolError(f"the process group at {dist_url} cannot be formed: {_first_line(error)}") from error
    # torchrun keeps one store for all its attempts: what an earlier one left in it must not be taken for this one's.
    _launch = distributed.PrefixStore("launch", store)
    _store = distributed.PrefixStore(f"attempt{launch.restarts()}", store)
    _peers = Peers(_store, rank=own, world_size=size, joining=JOINING.total_seconds()) if size > 1 else None
    if world_size not in (1, size):
        logger.warning("--world_size %d, but the launcher started %d processes", world_size, size)


def init(device: torch.device) -> None:
    """Form the process group of those that :func:`join` brought together.

    Args:
        device: decides between NCCL (cuda) and gloo.

    Raises:
        ToolError: it cannot be formed.
    """
    if _store is None:
        return
    if device.type == "mps":
        raise ToolError("--device mps: several processes cannot share it; give --device cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        _take_gpu(str(torch.cuda.get_device_properties(device).uuid))
    _store.set_timeout(TIMEOUT)
    try:
        distributed.init_process_group(
            backend="nccl" if device.type == "cuda" else "gloo",
            store=_store,
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise ToolError(f"the process group cannot be formed: {_first_line(error)}") from error


def _take_gpu(uuid: str) -> None:
    """Have a GPU for oneself: NCCL cannot do with two processes on one, and does not say so clearly."""
    assert _store is not None
    owner = _store.compare_set(f"gpu/{uuid}", "", os.environ["RANK"]).decode()
    if owner != os.environ["RANK"]:
        raise ToolError(f"ranks {owner} and {os.environ['RANK']} are on the same GPU: start one process for each, or "
                        "give --device cpu")  # fmt: skip


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def active() -> bool:
    """Whether this process is one of a group."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    if active():
        return distributed.get_rank()
    return _peers.rank if _peers else 0


def world_size() -> int:
    """Number of processes."""
    if active():
        return distributed.get_world_size()
    return _peers.world_size if _peers else 1


def local_world_size() -> int:
    """Processes of the group on this machine."""
    return launch.local_processes() if active() else 1


def restarts() -> int:
    """How often torchrun has started the processes anew."""
    return launch.restarts()


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of a tensor over all processes, on each of them."""
    if active():
        distributed.all_reduce(values)
    return values


def max_over_processes(values: Tensor) -> Tensor:
    """Largest of a tensor's values over all processes, on each of them."""
    if active():
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return values


def gather(items: list[Any]) -> list[Any]:
    """The items of all processes, in the order of their ranks, on every process."""
    if not active():
        return items
    barrier()  # a slow process may be an hour behind, a collective would not wait for it
    parts: list[list[Any]] = [[] for _ in range(world_size())]
    distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers (batch-norm statistics) of the first, so that all evaluate one model."""
    if active():
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model as the training loop calls it: gradients averaged over the processes, where there are several."""
    if not active():
        return model
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def barrier() -> None:
    """Wait for all processes, for as long as it takes."""
    if _peers:
        _peers.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """The first process does what follows before the others, which then find its downloads done, however long it takes.

    Where it fails, the others try, and meet the same error.
    """
    global _firsts
    _firsts += 1
    key = f"first/{_firsts}"
    if _peers and not is_main():
        _peers.wait(key)
    try:
        yield
    finally:
        if _peers and is_main():
            _peers.open(key)


def fail(text: str, code: int) -> int:
    """Show why the program ends, and return the exit code; of several processes the first one does so for all."""
    if _peers:
        _peers.fail(text, code)
    print(text, file=sys.stderr, flush=True)
    return code


def check_connection(error: Exception) -> None:
    """End the program if an error is that of a collective, whose other side is gone; return for any other error."""
    from_collective = isinstance(error, distributed.DistError) or "gloo" in str(error)
    if _peers and isinstance(error, RuntimeError) and from_collective:
        _peers.lost(_first_line(error))


def keep(name: str, value: str) -> None:
    """Leave a word for later attempts of this launch (``torchrun --max-restarts``)."""
    if _launch and is_main():
        _launch.set(name, value)


def kept(name: str) -> str | None:
    """What an earlier attempt, or this one, has left under a name."""
    return _launch.get(name).decode() if _launch and _launch.check([name]) else None


def close() -> None:
    """Leave the group, together with the others."""
    global _launch, _store, _peers
    if _peers:
        _peers.leave()
    if active():
        distributed.destroy_process_group()
    _launch = _store = _peers = None

"""One process or many behind the same calls: a single process is a world of size one."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from tools import ToolError

logger = logging.getLogger(__name__)


def pick_device(name: str | None) -> torch.device:
    """The device asked for, or the best that is there: cuda, mps, cpu.

    Raises:
        ToolError: a device that this machine, or this build of PyTorch, does not have.
    """
    if name is None:
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cuda", "mps", "cpu"):
            raise RuntimeError("not a device that this program trains on")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ToolError(f"--device {name}: not there ({str(error).splitlines()[0]}); leave the flag away") from error
    return device


def launched() -> bool:
    """Whether a launcher (torchrun, torch.distributed.launch) has put this process into a group."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def init(device: torch.device, *, dist_url: str = "env://", world_size: int = 1) -> None:
    """Join the process group that the launcher describes in the environment; nothing to do without one.

    Args:
        device: decides between NCCL (cuda) and gloo.
        dist_url: where the processes meet.
        world_size: how many processes the user means to run; the launcher's number counts.

    Raises:
        ToolError: more than one process is meant but none was launched, or the group cannot be formed.
    """
    if not launched():
        if world_size > 1:
            raise ToolError(f"--world_size {world_size}, but no launcher started this process: use torchrun "
                            f"--nproc_per_node={world_size} train.py ...")  # fmt: skip
        return
    if world_size not in (1, int(os.environ["WORLD_SIZE"])):
        logger.warning("--world_size %d, but the launcher started %s processes", world_size, os.environ["WORLD_SIZE"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group(
            backend="nccl" if device.type == "cuda" else "gloo",
            init_method=dist_url,
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=timedelta(minutes=30),
        )
    except (RuntimeError, ValueError) as error:
        raise ToolError(f"the process group at {dist_url} cannot be formed: {str(error).splitlines()[0]}") from error


def active() -> bool:
    """Whether this process is one of a group."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if active() else 0


def world_size() -> int:
    """Number of processes."""
    return distributed.get_world_size() if active() else 1


def local_world_size() -> int:
    """Processes of the group on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if active() else 1


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of a tensor over all processes, on each of them."""
    if active():
        distributed.all_reduce(values)
    return values


def gather(items: list[Any]) -> list[Any]:
    """The items of all processes, in the order of their ranks, on every process."""
    if not active():
        return items
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
    """Wait for all processes."""
    if active():
        distributed.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """The first process does what follows before the others, which then find its downloads done."""
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()


def close() -> None:
    """Leave the group."""
    if active():
        distributed.destroy_process_group()

"""Memory cache of resized pictures, shared by the workers that load them (``--cache ram``)."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dataset import DataError

SHARED_MEMORY = Path("/dev/shm")  # shared memory of processes on Linux, often limited to 64 MB in containers


class Cacheable(Protocol):
    """Dataset whose resized pictures can be cached."""

    in_chans: int
    img_size: tuple[int, int]

    def __len__(self) -> int: ...

    def use_cache(self, cache: "PictureCache") -> None:
        """Take pictures from the cache from now on, and store missing ones there."""


class PictureCache:
    """Store of resized pictures, filled as they are first loaded.

    With ``shared``, pictures stored by one worker are found by all of them in the next epoch.
    """

    def __init__(self, count: int, in_chans: int, img_size: tuple[int, int], *, shared: bool) -> None:
        self.pixels = torch.empty((count, in_chans, *img_size), dtype=torch.uint8)
        self.filled = torch.zeros(count, dtype=torch.bool)
        if shared:
            self.pixels.share_memory_()
            self.filled.share_memory_()

    def get(self, index: int) -> Tensor | None:
        """Return a picture (ch, H, W) uint8, None if it is not stored yet; do not change it in place."""
        return self.pixels[index] if self.filled[index] else None

    def put(self, index: int, pixels: Tensor) -> None:
        """Store a picture (ch, H, W) uint8."""
        self.pixels[index] = pixels
        self.filled[index] = True


def free_shared_memory() -> int | None:
    """Free bytes of the memory that processes share; None where the system has no limit of its own for it."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None


def cache_pictures(
    datasets: Sequence[Cacheable], *, workers: int, free: int, shared: int | None = None, copies: int = 1
) -> None:
    """Give each dataset of a run a cache; together they must fit into memory.

    Args:
        datasets: the datasets of this process.
        workers: number of loader workers of this process; if there are any, the cache is in shared memory.
        free: bytes of memory that can still be allocated.
        shared: bytes of it that processes can share; None for no such limit.
        copies: number of processes on this machine that cache the same datasets.

    Raises:
        DataError: the caches need more than half of the free memory, or more than the shared memory.
    """
    need = copies * sum(len(data) * data.in_chans * data.img_size[0] * data.img_size[1] for data in datasets)
    processes = f" in {copies} processes" if copies > 1 else ""
    needed = f"--cache ram: the resized pictures take {gigabytes(need)}{processes}"
    if need > free / 2:
        raise DataError(f"{needed}, more than half of the {gigabytes(free)} that are free; leave --cache out, or give "
                        "a smaller --img_size")  # fmt: skip
    if workers and shared is not None and need > shared:
        raise DataError(f"{needed}, more than the {gigabytes(shared)} of {SHARED_MEMORY}, which workers share; "
                        "enlarge it (docker run --shm-size), or give --num_workers 0")  # fmt: skip
    for data in datasets:
        data.use_cache(PictureCache(len(data), data.in_chans, data.img_size, shared=workers > 0))


def gigabytes(size: int) -> str:
    """Format a number of bytes in GiB, or in MiB if it is small."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"

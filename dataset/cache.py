"""Resized pictures kept in memory, shared by the workers that load them (``--cache ram``)."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from dataset import DataError

SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps what processes share; containers often allow it 64 MB only
CGROUPS = Path("/sys/fs/cgroup")  # limits of containers and jobs, version 2 of control groups


class Cacheable(Protocol):
    """What the cache needs of a dataset."""

    in_chans: int
    img_size: tuple[int, int]

    def __len__(self) -> int: ...

    def use_cache(self, cache: "PictureCache") -> None: ...


class PictureCache:
    """Pictures as they are after resizing, stored when they are first asked for.

    Each worker fills its share; as the memory is shared, all find it in the next epoch.
    """

    def __init__(self, count: int, in_chans: int, img_size: tuple[int, int], *, shared: bool) -> None:
        self.pixels = torch.empty((count, in_chans, *img_size), dtype=torch.uint8)
        self.filled = torch.zeros(count, dtype=torch.bool)
        if shared:
            self.pixels.share_memory_()
            self.filled.share_memory_()

    def get(self, index: int) -> Tensor | None:
        """(ch, H, W) uint8, of the cache itself: not to be changed in place; None if it is not there yet."""
        return self.pixels[index] if self.filled[index] else None

    def put(self, index: int, pixels: Tensor) -> None:
        """Store a picture (ch, H, W) uint8."""
        self.pixels[index] = pixels
        self.filled[index] = True


def cache_pictures(datasets: Sequence[Cacheable], *, workers: int, copies: int = 1) -> None:
    """Give each dataset a cache, if all of them together fit.

    Args:
        datasets: of one run.
        workers: processes that load for this one; with any the memory has to be shared memory.
        copies: processes on this machine that do the same.

    Raises:
        DataError: they would take more than half of the memory that is free, or more than may be shared.
    """
    need = copies * sum(len(data) * data.in_chans * data.img_size[0] * data.img_size[1] for data in datasets)
    free = free_memory()
    what = f"--cache ram: the resized pictures take {gigabytes(need)}{f' in {copies} processes' if copies > 1 else ''}"
    if need > free / 2:
        raise DataError(f"{what}, more than half of the {gigabytes(free)} that are free; leave it away, or give a "
                        "smaller --img_size")  # fmt: skip
    if workers and SHARED_MEMORY.is_dir() and need > (shared := shutil.disk_usage(SHARED_MEMORY).free):
        raise DataError(f"{what}, more than the {gigabytes(shared)} of {SHARED_MEMORY}, which workers share; "
                        "enlarge it (docker run --shm-size), or give --num_workers 0")  # fmt: skip
    for data in datasets:
        data.use_cache(PictureCache(len(data), data.in_chans, data.img_size, shared=workers > 0))


def free_memory() -> int:
    """Bytes that this process and its children may still take."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    own = Path("/proc/self/cgroup")
    names = (
        [line.split("::", 1)[1].strip("/") for line in own.read_text().splitlines() if "::" in line]
        if own.is_file()
        else []
    )
    for folder in {CGROUPS, *(CGROUPS / name for name in names)}:
        limit = folder / "memory.max"
        if limit.is_file() and (text := limit.read_text().strip()) != "max":
            fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # Files that were read and may be forgotten count as used there.
            used = int((folder / "memory.current").read_text()) - int(fields.get("inactive_file", 0))
            free = min(free, max(int(text) - used, 0))
    return free


def gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

"""Cores that this process may use: by its affinity, and by the quotas of control groups (containers, jobs)."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")  # where control groups of both versions are mounted
OWN_GROUPS = Path("/proc/self/cgroup")  # lines "number:controllers:group"; without controllers for version 2


def bound_cores() -> int:
    """Cores that the system may run this process on (``taskset``, a cpuset), or of the machine where it cannot say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_quota() -> float | None:
    """Cores' worth of time that control groups allow this process, the smallest of all levels; None without a limit."""
    return min((quota for folder in _folders() if (quota := _quota(folder)) is not None), default=None)


def _folders() -> Iterator[Path]:
    """Folders of the control groups of this process, and of those above them.

    A container may see its own group as the root, while its name is that on the host, so a folder may not exist.
    """
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        lines = []
    yield CGROUPS
    for line in lines:
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in (CGROUPS / controllers, CGROUPS / "cpu") if controllers else (CGROUPS, CGROUPS / "unified"):
            folder = mount / group.strip("/")
            yield from (folder, *(above for above in folder.parents if above.is_relative_to(mount)))


def _quota(folder: Path) -> float | None:
    """Quota of one control group in cores: ``cpu.max`` of version 2, or the CFS quota of version 1."""
    try:
        if (file := folder / "cpu.max").is_file():
            quota, period = file.read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if quota.strip() != "max" and float(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such group, or no quota in it
        return None

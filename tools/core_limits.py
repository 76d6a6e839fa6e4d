"""Cores that this process may use: by its affinity, and by the quotas of control groups (containers, jobs)."""

import os
from pathlib import Path

from tools.control_groups import group_folders


def bound_cores() -> int:
    """Cores that the system may run this process on (``taskset``, a cpuset), or of the machine where it cannot say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def core_quota() -> float | None:
    """Cores' worth of time that control groups allow this process, the smallest of all levels; None without a limit."""
    return min((quota for folder in group_folders("cpu") if (quota := _quota(folder)) is not None), default=None)


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

"""Memory that this process may still use: of the machine, and within the limits of control groups."""

import os
import sys
from pathlib import Path

from tools.control_groups import group_folders


def free_memory() -> int:
    """Bytes of memory that this process and its children can still allocate, within the limit of their container."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize  # Windows does not say through Python
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    in_groups = (_free_in_group(folder) for folder in group_folders("memory"))
    return min([free, *(left for left in in_groups if left is not None)])


def _free_in_group(folder: Path) -> int | None:
    """Bytes that a control group of either version leaves free; None without a limit.

    The kernel counts cached files as used, though it frees them when memory is needed.
    """
    try:
        if (file := folder / "memory.max").is_file():
            limit, used, cached = file.read_text().strip(), "memory.current", "inactive_file"
        else:
            limit = (folder / "memory.limit_in_bytes").read_text().strip()
            used, cached = "memory.usage_in_bytes", "total_inactive_file"
        if limit == "max":
            return None
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(int(limit) - int((folder / used).read_text()) + int(counts.get(cached, 0)), 0)
    except (OSError, ValueError):  # no such group, or no limit in it
        return None

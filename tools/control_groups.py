"""Control groups of Linux that limit this process: those of containers and of jobs of a scheduler."""

from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")  # where control groups of both versions are mounted
OWN_GROUPS = Path("/proc/self/cgroup")  # lines "number:controllers:group"; without controllers for version 2


def group_folders(controller: str) -> Iterator[Path]:
    """Folders of the control groups of this process, and of those above them, which limit it too.

    A container may see its own group as the root, while its name is that on the host, so a folder may not exist.

    Args:
        controller: what is limited, ``cpu`` or ``memory``; version 1 has groups of their own for each.
    """
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        lines = []
    yield CGROUPS
    for line in lines:
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mounts = (CGROUPS / controllers, CGROUPS / controller) if controllers else (CGROUPS, CGROUPS / "unified")
        for mount in mounts:
            folder = mount / group.strip("/")
            yield from (folder, *(above for above in folder.parents if above.is_relative_to(mount)))

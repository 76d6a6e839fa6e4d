"""Keep the host memory that one step frees for the next one.

glibc gives blocks above 32 MB back to the system as soon as they are freed and takes them anew a moment later, and
the system clears every page of them each time. A training step on a CPU frees and takes gigabytes.
"""

import ctypes
import os
import platform

# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
LARGEST, TOP_PAD = 2**31 - 1, 2**26


def keep_freed_memory() -> bool:
    """Have glibc's malloc keep what is freed; whether that is so.

    Nothing is changed where the user has chosen (``MALLOC_*`` in the environment, another allocator preloaded) or
    where there is no glibc.
    """
    chosen = [name for name in os.environ if name.startswith("MALLOC_")] or os.environ.get("LD_PRELOAD")
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: TOP_PAD}
    return all(mallopt(name, value) == 1 for name, value in settings.items())

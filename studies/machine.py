"""Hardware and versions of libraries that a measurement depends on."""

import os
import platform
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

from tools.text import counted


def machine(device: torch.device) -> dict[str, Any]:
    """Device, processor, number of usable cores, and versions of the libraries."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
    }


def hardware(device: torch.device) -> str:
    """Device, processor and threads in a few words."""
    where = machine(device)
    chip = where["processor"] if device.type == "cpu" else f"{where['device']}, {where['processor']}"
    cores, threads = counted(where["cores"], "core"), counted(torch.get_num_threads(), "thread")
    return f"{chip}, {cores}, {threads}, torch {where['torch']}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []

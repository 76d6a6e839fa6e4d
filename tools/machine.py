"""Device, precision, determinism and host memory of the machine that a process computes on."""

import ctypes
import logging
import os
import platform

import torch

from tools import ToolError, first_line
from tools.distributed import launch

logger = logging.getLogger(__name__)

AMP: dict[str, torch.dtype | None] = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def amp_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """Precision of a forward pass under autocast; None for single precision.

    Args:
        name: a key of :data:`AMP`, or ``auto``: bfloat16 if the hardware multiplies it, else off.
        device: device of the forward pass.

    Raises:
        ToolError: the device does not support the precision.
    """
    if name == "auto":
        return torch.bfloat16 if has_bfloat16(device) else None
    if name not in AMP:
        raise ValueError(f"unknown precision '{name}': choose one of auto, {', '.join(AMP)}")
    if AMP[name] == torch.bfloat16 and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ToolError(f"--amp bf16: {torch.cuda.get_device_name(device)} does not support bfloat16; give --amp fp16")
    if AMP[name] == torch.bfloat16 and device.type == "cpu" and not has_bfloat16(device):
        logger.warning("--amp bf16: this processor has no bfloat16 units, so steps take longer than in single "
                       "precision; leave it out, or give --amp auto", extra={"once": True})  # fmt: skip
    return AMP[name]


def compiles(requested: bool, device: torch.device) -> bool:
    """Whether to compile a model: if ``--compile true`` asks for it, and unless it may make steps slower.

    A run on a CPU goes on without, so that a file of flags can serve machines with and without a GPU.
    """
    if requested and device.type == "cpu":
        logger.warning("--compile true: not used on a CPU, where compilation takes minutes and training is 0.92 to "
                       "1.04 times as fast afterwards; leave it out", extra={"once": True})  # fmt: skip
    return requested and device.type != "cpu"


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Context manager of a forward pass in a precision of :func:`amp_dtype`."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, not merely by emulation."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None
    if device.type == "cpu":
        if hasattr(torch.cpu, "get_capabilities"):
            known = torch.cpu.get_capabilities()
            return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("arm_bf16"))
        older = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # in versions of torch without it
        return any(getattr(torch.cpu, name, bool)() for name in older)
    return False


def set_numerics(device: torch.device, *, tf32: bool, deterministic: bool) -> None:
    """Set the numerics of the whole program.

    Args:
        device: ``tf32`` has an effect on CUDA devices only.
        tf32: let single-precision matrix products round their factors to 10 bits (TensorFloat-32).
        deterministic: the same flags give the same bits on the same machine; an operation that cannot guarantee this
            raises an error.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        # All pictures have one size, so trying the algorithms once pays; but which one wins is not deterministic.
        torch.backends.cudnn.benchmark = not deterministic
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    torch.use_deterministic_algorithms(deterministic)
    # Filling new memory would cost time, and nothing here reads memory before writing it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def pick_device(name: str | None) -> torch.device:
    """Device of that name, or the best available of cuda, mps, cpu; of several GPUs the one of this process.

    Raises:
        ToolError: this machine, this build of PyTorch or this process does not have the device.
    """
    if name is None:
        # Processes without CUDA communicate through gloo, which does not support mps.
        mps = torch.backends.mps.is_available() and not launch.launched()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cuda", "mps", "cpu"):
            raise RuntimeError("not a device that this program trains on")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", launch.gpu_index(torch.cuda.device_count()))
        if device.type == "cuda":
            # Calls without a device, such as random numbers, use the current one.
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ToolError(f"--device {name}: not available ({first_line(error)}); leave the flag out") from error
    return device


# Parameters of mallopt(3), from glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
LARGEST_THRESHOLD, TOP_PAD = 2**31 - 1, 2**26  # bytes


def keep_freed_memory() -> bool:
    """Let glibc's malloc keep freed memory for the next step; return whether it does.

    glibc returns blocks above 32 MB to the system as soon as they are freed and requests them again a moment later,
    and the system clears every page of them each time. A training step on a CPU frees and requests gigabytes.

    Nothing changes if the user has configured the allocator (``MALLOC_*`` in the environment, another allocator
    preloaded), or without glibc.
    """
    chosen = [name for name in os.environ if name.startswith("MALLOC_")] or os.environ.get("LD_PRELOAD")
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: LARGEST_THRESHOLD, M_TOP_PAD: TOP_PAD}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def memory_format(channels_last: bool) -> torch.memory_format:
    """Memory format of a model and its batches."""
    return torch.channels_last if channels_last else torch.contiguous_format

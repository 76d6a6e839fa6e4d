"""The device that a process computes on."""

import torch

from tools import ToolError, launch


def pick_device(name: str | None) -> torch.device:
    """The device asked for, or the best that is there: cuda, mps, cpu; of several GPUs the one of this process.

    Raises:
        ToolError: a device that this machine, this build of PyTorch or this process does not have.
    """
    if name is None:
        # gloo, through which processes without GPUs talk, does not know mps.
        mps = torch.backends.mps.is_available() and not launch.launched()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cuda", "mps", "cpu"):
            raise RuntimeError("not a device that this program trains on")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", launch.gpu_index(torch.cuda.device_count()))
        if device.type == "cuda":
            # What is asked without naming a device, random numbers among it, is of this one.
            torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ToolError(f"--device {name}: not there ({str(error).splitlines()[0]}); leave the flag away") from error
    return device

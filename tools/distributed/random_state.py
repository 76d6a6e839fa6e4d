"""RNG states of all processes, for runs that stop in the middle of an epoch."""

import torch
from torch import Tensor

from tools import ToolError
from tools.distributed import gather, rank, world_size


def random_states(device: torch.device) -> list[dict[str, Tensor]]:
    """RNG states of every rank, by type of device (CPU and the rank's device); every process must call it."""
    own = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        own[device.type] = torch.get_device_module(device).get_rng_state()
    return gather([own])


def restore_random_state(states: list[dict[str, Tensor]], device: torch.device) -> bool:
    """Set the RNG states of this rank; False if the run had another number of processes or type of device.

    Raises:
        ToolError: the states are damaged.
    """
    if len(states) != world_size() or device.type not in states[rank()]:
        return False
    own = states[rank()]
    try:
        _set(own, device)
    except (KeyError, RuntimeError, TypeError) as error:
        raise ToolError("--resume: the RNG state of the checkpoint is damaged: give another checkpoint") from error
    return True


def _set(own: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(own["cpu"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(own[device.type])

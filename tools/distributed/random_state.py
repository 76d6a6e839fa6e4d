"""The state of the random numbers of all processes, for runs that are left in the middle of an epoch."""

import torch
from torch import Tensor

from tools.distributed import gather, rank, world_size


def random_states(device: torch.device) -> list[dict[str, Tensor]]:
    """Of every process, that of the CPU and, if it is another one, of its device; every process must call it."""
    own = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        own[device.type] = torch.get_device_module(device).get_rng_state()
    return gather([own])


def restore_random_state(states: list[dict[str, Tensor]], device: torch.device) -> bool:
    """Go on with the random numbers of this process; False where the run had other processes or another device."""
    if len(states) != world_size() or device.type not in states[rank()]:
        return False
    own = states[rank()]
    torch.set_rng_state(own["cpu"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(own[device.type])
    return True

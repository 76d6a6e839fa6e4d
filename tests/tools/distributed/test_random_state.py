import torch

from tools.distributed.random_state import random_states, restore_random_state

CPU = torch.device("cpu")


def test_restored_states_continue_the_random_numbers():
    states = random_states(CPU)
    first = torch.rand(3)
    assert restore_random_state(states, CPU) and torch.equal(torch.rand(3), first)


def test_states_of_another_number_of_processes_or_device_are_not_restored():
    states = random_states(CPU)
    assert not restore_random_state(states * 2, CPU)
    assert not restore_random_state(states, torch.device("cuda"))

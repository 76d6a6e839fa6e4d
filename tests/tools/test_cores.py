"""Division of cores between computation and loading: numbers by hand, and what a run says and stores."""

import os

import pytest
import torch

from tools import cores
from tools.cores import Division, divide_cores, division

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("own", "expected"), [(1, (1, 0)), (2, (2, 0)), (3, (3, 0)), (4, (3, 1)), (8, (6, 2)), (64, (48, 16))]
)
def test_threads_and_workers_on_a_cpu_are_as_many_as_cores(own, expected):
    assert division(own, threads=None, workers=None, on_cpu=True) == expected and sum(expected) == own


@pytest.mark.parametrize(
    ("own", "threads", "workers"), [(2, 1, 1), (2, 2, 0), (2, 8, 0), (16, 1, 4), (16, 14, 2), (1, 1, 0)]
)
def test_a_given_number_of_threads_stays_and_workers_take_what_it_leaves(own, threads, workers):
    assert division(own, threads=threads, workers=None, on_cpu=True) == (threads, workers)


@pytest.mark.parametrize(("own", "workers"), [(1, 1), (2, 1), (4, 3), (17, 16), (128, 16)])
def test_a_gpu_is_fed_by_all_cores_but_one(own, workers):
    assert division(own, threads=None, workers=None, on_cpu=False) == (own, workers)


@pytest.fixture
def machine(monkeypatch):
    """Function that gives this process a number of cores, and OMP_NUM_THREADS or none."""

    def give(own, omp=None):
        monkeypatch.setattr(cores, "cores", lambda: own)
        monkeypatch.setattr(cores, "bound_cores", lambda: 2 * own)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if omp:
            monkeypatch.setenv("OMP_NUM_THREADS", omp)

    return give


def test_threads_are_set_and_said(machine, capsys):
    machine(8)
    assert divide_cores("auto", CPU) == Division(6, 2) and torch.get_num_threads() == 6
    assert capsys.readouterr().out == "cpu, 8 cores: 6 threads, pictures are loaded by 2 processes\n"
    machine(1)
    assert divide_cores("auto", CPU) == (1, 0) and torch.get_num_threads() == 1
    assert capsys.readouterr().out == "cpu, 1 core: 1 thread, pictures are loaded by this process\n"


def test_omp_num_threads_has_priority(machine):
    machine(8, omp="3")
    torch.set_num_threads(3)  # as PyTorch does when it starts
    assert divide_cores("auto", CPU) == (3, 2) and torch.get_num_threads() == 3


def test_a_number_of_workers_is_kept_up_to_the_cores_of_the_affinity(machine):
    machine(4)
    assert [divide_cores(number, CPU).workers for number in (0, 3, 8, 1000)] == [0, 3, 8, 8]
    assert divide_cores(3, CUDA) == (4, 3)
    machine(16)
    assert [divide_cores(number, CPU).threads for number in (0, 1, 4, 16)] == [16, 15, 12, 12]


def test_the_first_line_of_a_run_says_it_and_its_checkpoint_stores_it(scripts, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(2)), raising=False)
    flags = f"{tiny.replace('--num_workers 0', '')} --epochs 1 --batch_size 100 --output_dir {tmp_path}"
    code, out, err = scripts("train", flags)
    assert code == 0, err
    assert out.splitlines()[0] == "cpu, 2 cores: 1 thread, pictures are loaded by 1 process"  # OMP_NUM_THREADS is 1
    path = tmp_path / "MNIST5k_use_slot_checkpoint.pth"
    stored = torch.load(path, weights_only=True)["train_config"]
    assert (stored["num_workers"], stored["threads"]) == (1, 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    code, out, err = scripts("train", flags.replace("--epochs 1", "--epochs 2"), "--resume auto")
    assert code == 0, err  # auto is another number now
    first, _, third = out.splitlines()[:3]
    assert first == "cpu, 1 core: 1 thread, pictures are loaded by this process"
    assert third == "continuing from epoch 1 (changed: epochs 2, before 1)"

import os

import pytest
import torch

from tools import ToolError
from tools.distributed import launch

SLURM = {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2",
         "SLURM_NODEID": "0", "SLURM_STEP_ID": "3", "SLURM_JOB_ID": "9", "SLURM_JOB_NODELIST": "here"}  # fmt: skip
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "there",
            "MASTER_PORT": "1"}  # fmt: skip


@pytest.fixture
def environment(monkeypatch):
    """Function that sets the environment to the given launcher variables and no others."""

    def set_to(variables):
        foreign = [key for key in os.environ if key.startswith(("SLURM_", "TORCHELASTIC_", "OMP_"))]
        own = {key: value for key, value in os.environ.items() if key not in {*TORCHRUN, *foreign}}
        monkeypatch.setattr(os, "environ", {**own, **variables})

    return set_to


def test_slurm_tasks_are_a_launch_but_torchrun_has_priority(environment):
    environment(SLURM)
    launch.adopt()
    assert os.environ["RANK"] == "1" and os.environ["MASTER_ADDR"] == "here" and launch.local_processes() == 2
    environment({**SLURM, **TORCHRUN})
    launch.adopt()
    assert os.environ["RANK"] == "3" and os.environ["MASTER_ADDR"] == "there"


def test_processes_share_the_cores_unless_omp_num_threads_is_set(environment, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(launch, "core_quota", lambda: None)
    environment(SLURM)
    launch.adopt()
    assert torch.get_num_threads() == 4
    environment({**SLURM, "OMP_NUM_THREADS": "1"})
    launch.adopt()
    assert torch.get_num_threads() == 4  # unchanged
    environment({**SLURM, **TORCHRUN, "SLURM_CPUS_PER_TASK": "3"})
    assert launch.cores() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5}, raising=False)
    assert launch.cores() == 1


@pytest.mark.parametrize(
    ("variables", "bound", "quota", "expected"),
    [
        ({}, 8, None, 8),
        ({}, 3, None, 3),
        ({}, 8, 2.5, 2),
        ({}, 8, 0.5, 1),
        ({}, 8, 100.0, 8),
        (TORCHRUN, 8, None, 4),
        (TORCHRUN, 3, None, 1),  # both processes run on the same three cores
        (TORCHRUN, 8, 4.0, 2),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "3"}, 8, 2.0, 1),
        ({**TORCHRUN, **SLURM, "TORCHELASTIC_RUN_ID": "1", "SLURM_CPUS_PER_TASK": "6"}, 6, None, 3),  # of one task
        ({**SLURM, **TORCHRUN}, 2, None, 2),  # srun has bound each task to cores of its own
        ({**SLURM, **TORCHRUN, "SLURM_CPUS_PER_TASK": "4"}, 8, 6.0, 3),
        ({"SLURM_CPUS_PER_TASK": "2"}, 8, None, 2),
        ({"SLURM_CPUS_ON_NODE": "4"}, 8, None, 4),
    ],
)
def test_cores_of_a_process_by_affinity_quota_and_launcher(environment, monkeypatch, variables, bound, quota, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(bound)), raising=False)
    monkeypatch.setattr(launch, "core_quota", lambda: quota)
    environment(variables)
    assert launch.cores() == expected


def test_a_process_that_sees_one_gpu_takes_it(environment):
    environment(TORCHRUN)
    assert launch.gpu_index(1) == 0 and launch.gpu_index(2) == 1
    environment({**TORCHRUN, "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "3"})
    with pytest.raises(ToolError, match="3 processes on a machine with 2 GPUs"):
        launch.gpu_index(2)


def test_restarts_are_those_of_torchrun(environment):
    environment(TORCHRUN)
    assert launch.restarts() == 0
    environment({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"})
    assert launch.restarts() == 2

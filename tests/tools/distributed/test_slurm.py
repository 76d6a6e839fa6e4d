import pytest

from tools import ToolError
from tools.distributed.slurm import first_host, is_task, task_environment, tasks_per_node

# Variables of the sixth of seven tasks on two machines, and of the shell of the batch script around it.
STEP = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURM_NTASKS": "7", "SLURM_STEP_NUM_TASKS": "7", "SLURM_STEP_NODELIST": "node[09-10]",
    "SLURM_JOB_NODELIST": "node[08-10]", "SLURM_STEP_TASKS_PER_NODE": "4,3", "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_TASK_PID": "99", "ENVIRONMENT": "BATCH",
}  # fmt: skip
BATCH_SHELL = {key: value for key, value in STEP.items() if "STEP" not in key} | {"SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node[003-010,012],other5", "node003"),
        ("a-b[1,3]", "a-b1"),
        ("a-b[10]", "a-b10"),
        ("host1,host2", "host1"),
        ("gpu-7.cluster.org", "gpu-7.cluster.org"),
        ("rack[2-3]node[08-09]x,y", "rack2node08x"),
    ],
)
def test_first_host_of_a_node_list(nodes, host):
    assert first_host(nodes) == host


@pytest.mark.parametrize("nodes", ["", "node[", "node[]", "node]1[", ",a"])
def test_an_invalid_node_list_is_reported(nodes):
    with pytest.raises(ToolError, match="set MASTER_ADDR"):
        first_host(nodes)


def test_numbers_of_tasks_per_node():
    assert tasks_per_node("4(x2),3") == [4, 4, 3] and tasks_per_node("2") == [2]
    with pytest.raises(ToolError, match="cannot be read"):
        tasks_per_node("4(y2)")


def test_the_environment_of_a_task_of_a_step():
    env = task_environment(STEP)
    assert env.pop("MASTER_PORT").isdecimal()
    assert env == {"RANK": "5", "WORLD_SIZE": "7", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3", "MASTER_ADDR": "node09"}


def test_a_given_address_and_port_have_priority():
    env = task_environment({**STEP, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"})
    assert (env["MASTER_ADDR"], env["MASTER_PORT"]) == ("10.0.0.1", "1234")


def test_jobs_and_steps_have_different_ports():
    ports = {task_environment({**STEP, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})["MASTER_PORT"]
             for job in range(10_000_000, 10_000_100) for step in range(4)}  # fmt: skip
    assert len(ports) == 400 and all(15_000 <= int(port) < 30_000 for port in ports)


@pytest.mark.parametrize(
    ("env", "task"),
    [
        (STEP, True),
        (BATCH_SHELL, False),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1"}, False),  # srun -n1 in an allocation for seven
        ({**STEP, "SLURM_STEP_ID": str(0xFFFFFFFA)}, False),  # the interactive step of salloc
        ({"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "7", "SLURM_JOB_NODELIST": "a"}, False),  # the shell of salloc
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0", "SLURM_NODELIST": "a"}, True),  # a wrapper
        ({}, False),
    ],
)
def test_only_tasks_of_a_step_with_several_are_a_launch(env, task):
    assert is_task(env) is task and bool(task_environment(env)) is task


def test_tasks_on_this_machine_without_the_list_of_the_step():
    env = {key: value for key, value in STEP.items() if key != "SLURM_STEP_TASKS_PER_NODE"}
    assert task_environment(env)["LOCAL_WORLD_SIZE"] == "4"
    del env["SLURM_NTASKS_PER_NODE"]
    assert task_environment(env)["LOCAL_WORLD_SIZE"] == "7"
    assert task_environment({**env, "SLURM_NNODES": "7"})["LOCAL_WORLD_SIZE"] == "1"


def test_missing_and_invalid_variables_are_named():
    with pytest.raises(
        ToolError, match="SLURM_LOCALID is not set: a wrapper removed it; use srun --export=ALL, or torchrun"
    ):
        task_environment({key: value for key, value in STEP.items() if key != "SLURM_LOCALID"})
    with pytest.raises(ToolError, match="SLURM_PROCID=x is not a number"):
        task_environment({**STEP, "SLURM_PROCID": "x"})

"""Translation of srun's environment variables to those that torch.distributed reads.

The variables are described in srun(1), "Output Environment Variables".
"""

import re
from collections.abc import Mapping

from tools import ToolError

# Steps that srun did not start (interactive shells, batch scripts) have numbers from here on (slurm.h).
FIRST_RESERVED_STEP = 0xFFFFFFF0
# Below the ports that Linux gives to outgoing connections (32768 and above), any of which may be in use.
FIRST_PORT, NUM_PORTS = 15_000, 15_000


def task_environment(env: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT of this task.

    Args:
        env: the environment; its MASTER_ADDR and MASTER_PORT have priority.

    Returns:
        The variables; none if this process is not one of several tasks of a step: a plain ``python`` in a batch script
        or an interactive shell is a run of its own, although Slurm sets many of the same variables there.

    Raises:
        ToolError: a variable is missing or invalid.
    """
    if not is_task(env):
        return {}
    nodes = env[_first_set(env, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST", "MASTER_ADDR")]
    return {
        "RANK": str(_number(env, "SLURM_PROCID")),
        "WORLD_SIZE": str(_tasks(env)),
        "LOCAL_RANK": str(_number(env, "SLURM_LOCALID")),
        "LOCAL_WORLD_SIZE": str(_tasks_here(env)),
        "MASTER_ADDR": env.get("MASTER_ADDR") or first_host(nodes),
        "MASTER_PORT": env.get("MASTER_PORT") or str(_port(env)),
    }


def is_task(env: Mapping[str, str]) -> bool:
    """Whether this process is one of several tasks that srun started together."""
    if "SLURM_PROCID" not in env or not ("SLURM_STEP_NUM_TASKS" in env or "SLURM_NTASKS" in env):
        return False
    if "SLURM_STEP_ID" in env:
        return _tasks(env) > 1 and _number(env, "SLURM_STEP_ID") < FIRST_RESERVED_STEP
    # The shell of a batch script has a PROCID of 0 and the NTASKS of the job, but no step. The same holds for a task
    # whose wrapper drops variables, but it also lacks those that mark a batch shell.
    in_batch_shell = env.get("ENVIRONMENT") == "BATCH" or "SLURM_TASK_PID" in env
    return _tasks(env) > 1 and not in_batch_shell


def first_host(nodes: str) -> str:
    """First host of a Slurm node list: ``node003`` of ``node[003-010,012],other5``.

    Raises:
        ToolError: the list cannot be read.
    """
    first = re.match(r"(?:[^,\[\]]|\[[^\[\],-]+[^\[\]]*\])+(?=,|$)", nodes.strip())
    if not first:
        raise ToolError(f"the Slurm node list '{nodes}' cannot be read: set MASTER_ADDR to the host of the first task")
    return re.sub(r"\[([^,\]-]+)[^\]]*\]", r"\1", first[0])


def tasks_per_node(text: str) -> list[int]:
    """Numbers of tasks per node from Slurm's notation: 4, 4, 3 from ``4(x2),3``.

    Raises:
        ToolError: the text cannot be read.
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\(x(\d+)\))?\s*", part)
        if not match:
            raise ToolError(f"SLURM_STEP_TASKS_PER_NODE={text} cannot be read: unset it and set SLURM_NTASKS_PER_NODE")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _tasks(env: Mapping[str, str]) -> int:
    return _number(env, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")


def _tasks_here(env: Mapping[str, str]) -> int:
    """Number of tasks on this machine; the step's list has priority, since NTASKS_PER_NODE is only a request."""
    node = int(env.get("SLURM_NODEID", 0))
    if "SLURM_STEP_TASKS_PER_NODE" in env:
        counts = tasks_per_node(env["SLURM_STEP_TASKS_PER_NODE"])
        if node < len(counts):
            return counts[node]
    if "SLURM_NTASKS_PER_NODE" in env:
        return min(_number(env, "SLURM_NTASKS_PER_NODE"), _tasks(env))
    alone = int(env.get("SLURM_STEP_NUM_NODES") or env.get("SLURM_NNODES") or 1) == 1
    return _tasks(env) if alone else 1


def _port(env: Mapping[str, str]) -> int:
    """Port that all tasks compute identically and that differs between the jobs and steps of a host."""
    job, step = int(env.get("SLURM_JOB_ID") or env.get("SLURM_JOBID") or 0), int(env.get("SLURM_STEP_ID", 0))
    return FIRST_PORT + (7 * job + step) % NUM_PORTS


def _first_set(env: Mapping[str, str], *names: str) -> str:
    """Name of the first variable that is set."""
    for name in names:
        if env.get(name):
            return name
    raise ToolError(f"Slurm started this task, but {names[0]} is not set: a wrapper removed it; use srun "
                    "--export=ALL, or torchrun")  # fmt: skip


def _number(env: Mapping[str, str], *names: str) -> int:
    name = _first_set(env, *names)
    if not env[name].isdecimal():
        raise ToolError(f"{name}={env[name]} is not a number: leave Slurm's variables unchanged, or use torchrun")
    return int(env[name])

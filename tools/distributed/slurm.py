"""What Slurm tells each task that srun starts, in the variables that torch.distributed reads.

The names are those of srun(1), "Output Environment Variables".
"""

import re
from collections.abc import Mapping

from tools import ToolError

# Steps that srun did not start carry numbers from here on: interactive shells, batch scripts (slurm.h).
FIRST_RESERVED_STEP = 0xFFFFFFF0
# Below the ports that Linux gives to outgoing connections (32768 and above), which could be in use by chance.
FIRST_PORT, PORTS = 15_000, 15_000


def task_environment(env: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT of this task.

    Args:
        env: the environment; a MASTER_ADDR or MASTER_PORT in it counts.

    Returns:
        Nothing where this process is not one of several tasks of a step: a plain ``python`` in a batch script or in an
        interactive shell is a run of its own, though Slurm has set many of the same variables there.

    Raises:
        ToolError: a variable that is needed is missing or makes no sense.
    """
    if not is_task(env):
        return {}
    nodes = _value(env, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST", "MASTER_ADDR")
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
    # The shell of a batch script has a PROCID of 0 and the NTASKS of the job, but no step. A wrapper that hands on no
    # more than these two and their kin hands on neither of the variables by which the batch shell is known.
    in_batch_shell = env.get("ENVIRONMENT") == "BATCH" or "SLURM_TASK_PID" in env
    return _tasks(env) > 1 and not in_batch_shell


def first_host(nodes: str) -> str:
    """The first host of a list of Slurm's: ``node[003-010,012],other5`` begins with ``node003``.

    Raises:
        ToolError: it is no such list.
    """
    first = re.match(r"(?:[^,\[\]]|\[[^\[\],-]+[^\[\]]*\])+(?=,|$)", nodes.strip())
    if not first:
        raise ToolError(f"the Slurm node list '{nodes}' cannot be read: set MASTER_ADDR to the host of the first task")
    return re.sub(r"\[([^,-]+)[^\]]*\]", r"\1", first[0])


def tasks_per_node(text: str) -> list[int]:
    """Slurm's ``4(x2),3`` as 4, 4, 3.

    Raises:
        ToolError: it is no such text.
    """
    counts: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\(x(\d+)\))?\s*", part)
        if not match:
            raise ToolError(f"Slurm's tasks per node '{text}' cannot be read: set SLURM_NTASKS_PER_NODE")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _tasks(env: Mapping[str, str]) -> int:
    return _number(env, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")


def _tasks_here(env: Mapping[str, str]) -> int:
    """Tasks of this step on this machine: the step's own list first, since NTASKS_PER_NODE is what was asked for."""
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
    """A port that all tasks know without asking, and that no other job or step on the first host has."""
    job, step = int(env.get("SLURM_JOB_ID") or env.get("SLURM_JOBID") or 0), int(env.get("SLURM_STEP_ID", 0))
    return FIRST_PORT + (7 * job + step) % PORTS


def _value(env: Mapping[str, str], *names: str) -> str:
    """That of the first of some variables which is set."""
    for name in names:
        if env.get(name):
            return env[name]
    raise ToolError(f"Slurm started this task, but {names[0]} is not set: start it with srun, or with torchrun")


def _number(env: Mapping[str, str], *names: str) -> int:
    text = _value(env, *names)
    if not text.isdecimal():
        raise ToolError(f"{names[-1]}={text} is not a number: start the program with srun, or with torchrun")
    return int(text)

"""Launcher of this process: ranks, share of the machine, restarts and command line."""

import os
import shlex
import sys

import torch

from tools import ToolError
from tools.core_limits import bound_cores, core_quota
from tools.distributed.slurm import task_environment


def adopt() -> None:
    """Treat the tasks of a Slurm step as a launch, and give each process its share of the cores.

    The variables of torchrun or torch.distributed.launch, which may run in a Slurm job, have priority over Slurm's.
    """
    if not launched():
        os.environ.update(task_environment(os.environ))
    if launched() and local_processes() > 1 and "OMP_NUM_THREADS" not in os.environ:
        # torchrun sets OMP_NUM_THREADS itself; with other launchers every process would use all cores.
        torch.set_num_threads(cores())


def launched() -> bool:
    """Whether a launcher started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_processes() -> int:
    """Number of processes of the launch on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if launched() else 1


def local_rank() -> int:
    """Rank of this process among those on this machine."""
    return int(os.environ.get("LOCAL_RANK", 0)) if launched() else 0


def cores() -> int:
    """Number of cores for this process: its share of those that its affinity, a quota and Slurm allow; at least 1.

    srun may bind each task to cores of its own; the processes of other launchers share what the launcher is bound to. A
    quota, of a container or a job, holds for all processes together. The part of a core that it leaves over is not
    used: a process that exceeds its quota is stopped, with all its threads, for the rest of each period.
    """
    env, here, bound = os.environ, local_processes(), bound_cores()
    is_task = launched() and "SLURM_PROCID" in env and "TORCHELASTIC_RUN_ID" not in env
    node = int(env.get("SLURM_CPUS_ON_NODE") or os.cpu_count() or 1)
    quota = int(core_quota() or node)
    own = int(env.get("SLURM_CPUS_PER_TASK") or 0) if is_task or here == 1 else 0
    shared = node if is_task else min(node, bound)
    return max(1, min(bound, own or shared // here, quota // here))


def gpu_index(gpus: int) -> int:
    """Index of this process's GPU among those that it sees.

    A single visible GPU was assigned to the process (``srun --gpus-per-task``, CUDA_VISIBLE_DEVICES); two processes
    on one GPU are detected when the group is formed.

    Args:
        gpus: number of visible GPUs.

    Raises:
        ToolError: there are more processes than GPUs.
    """
    if gpus > 1 and local_rank() >= gpus:
        raise ToolError(f"{local_processes()} processes on a machine with {gpus} GPUs: start one process per GPU, or "
                        "give --device cpu")  # fmt: skip
    return 0 if gpus <= 1 else local_rank()


def restarts() -> int:
    """Number of times that torchrun has restarted the processes (``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) if launched() else 0


def command_line() -> str:
    """Command line as the user typed it, for messages that say how to continue."""
    return shlex.join([*_launcher(), *sys.argv])


def _launcher() -> list[str]:
    env = os.environ
    if "RANK" not in env or "LOCAL_WORLD_SIZE" not in env:
        return ["python"]
    if "TORCHELASTIC_RUN_ID" not in env and "SLURM_PROCID" in env:
        return ["srun", f"--ntasks={env['WORLD_SIZE']}", "python"]
    nodes = [f"--nnodes={env['GROUP_WORLD_SIZE']}"] if env.get("GROUP_WORLD_SIZE", "1") != "1" else []
    return ["torchrun", *nodes, f"--nproc_per_node={env['LOCAL_WORLD_SIZE']}"]

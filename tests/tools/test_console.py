import pytest
import torch

from tools import ToolError
from tools.console import format_table, run_script
from tools.distributed.preemption import Interrupted


def raising(error):
    def main():
        raise error

    return main


def test_a_preempted_run_ends_with_the_exit_code_for_resuming(capsys):
    assert run_script(raising(Interrupted("SIGTERM: saved")), "train.py", ()) == 75
    assert capsys.readouterr().out == "SIGTERM: saved\n"


def test_an_operation_that_is_not_deterministic_is_one_line(capsys):
    error = RuntimeError("put_ does not have a deterministic implementation, but you set 'torch.use_...'\nand more")
    assert run_script(raising(error), "train.py", ()) == 2
    assert capsys.readouterr().err == (
        "train.py: error: --deterministic: put_ is not deterministic on this device; leave the flag out\n"
    )


def test_a_model_that_cannot_be_compiled_is_one_line(capsys):
    error = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})("no compiler\nmore")
    assert run_script(raising(error), "train.py", ()) == 2
    assert "--compile: this model cannot be compiled here (no compiler); leave the flag out" in capsys.readouterr().err


def lost_worker(message="DataLoader worker (pid(s) 7) exited unexpectedly", cause=None):
    error = RuntimeError(message)
    error.__cause__ = cause and RuntimeError(cause)
    return error


KILLED = "DataLoader worker (pid 7) is killed by signal: Killed. "


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lost_worker(), "was ended (reason unknown), usually by the system because memory or /dev/shm is full"),
        (lost_worker(cause=KILLED), "was ended (signal: Killed), usually"),
        (lost_worker(KILLED), "was ended (signal: Killed), usually"),
        (
            lost_worker("DataLoader worker (pid 7) exited unexpectedly with exit code 1. Details"),
            "ended (exit code 1), ",
        ),
        # torch reports the end of a worker in the middle of a save
        (ToolError(f"x.pth cannot be written ({KILLED}): check free space"), "was ended (signal: Killed), "),
        (RuntimeError("Too many open files. Communication with the workers"), "too many open files: raise the limit"),
        (RuntimeError("unable to allocate shared memory(shm) for file"), "enlarge /dev/shm (docker run --shm-size)"),
    ],
)
def test_the_end_of_a_worker_is_one_line_that_says_what_to_do(capsys, error, message):
    assert run_script(raising(error), "train.py", ()) == 2
    line = capsys.readouterr().err
    assert line.startswith("train.py: error: ") and line.endswith("give a smaller --num_workers, or 0\n")
    assert message in line and line.count("\n") == 1 and "pid" not in line


def test_faults_of_the_program_keep_their_traceback(capsys):
    assert run_script(raising(RuntimeError("ours")), "train.py", ()) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.endswith("RuntimeError: ours\n")
    assert issubclass(torch.OutOfMemoryError, RuntimeError)


def test_a_table_is_aligned():
    table = format_table([{"name": "x", "top1": 0.5}, {"name": "long", "top1": 0.25}])
    assert table.splitlines() == ["name    top1", "   x  0.5000", "long  0.2500"]

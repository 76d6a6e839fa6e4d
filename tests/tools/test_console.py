import pytest
import torch

from tools import ToolError
from tools.console import run_script
from tools.distributed.preemption import Interrupted


def ending(error):
    def main():
        raise error

    return main


def test_a_run_that_was_asked_to_leave_ends_with_a_code_that_says_resume_me(capsys):
    assert run_script(ending(Interrupted("SIGTERM: saved")), "train.py", ()) == 75
    assert capsys.readouterr().out == "SIGTERM: saved\n"


def test_an_operation_that_cannot_be_repeated_is_one_line(capsys):
    error = RuntimeError("put_ does not have a deterministic implementation, but you set 'torch.use_...'\nand more")
    assert run_script(ending(error), "train.py", ()) == 2
    assert capsys.readouterr().err == (
        "train.py: error: --deterministic: put_ cannot be repeated bit by bit on this device; leave the flag away\n"
    )


def test_a_model_that_cannot_be_compiled_is_one_line(capsys):
    error = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})("no compiler\nmore")
    assert run_script(ending(error), "train.py", ()) == 2
    assert "--compile: this model cannot be compiled here (no compiler); leave" in capsys.readouterr().err


def lost_worker(told="DataLoader worker (pid(s) 7) exited unexpectedly", reason=None):
    error = RuntimeError(told)
    error.__cause__ = reason and RuntimeError(reason)
    return error


KILLED = "DataLoader worker (pid 7) is killed by signal: Killed. "


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            lost_worker(),
            "was ended (nothing is known of it), mostly by the system because memory or /dev/shm is used up",
        ),
        (lost_worker(reason=KILLED), "was ended (signal: Killed), mostly"),
        (lost_worker(KILLED), "was ended (signal: Killed), mostly"),
        (
            lost_worker("DataLoader worker (pid 7) exited unexpectedly with exit code 1. Details"),
            "ended (exit code 1), ",
        ),
        # the signal that a worker has ended came in the middle of a save
        (ToolError(f"x.pth cannot be written ({KILLED}); what it held before stays"), "was ended (signal: Killed), "),
        (RuntimeError("Too many open files. Communication with the workers"), "too many open files: raise the limit"),
        (RuntimeError("unable to allocate shared memory(shm) for file"), "enlarge /dev/shm (docker run --shm-size)"),
    ],
)
def test_what_ends_a_worker_is_one_line_that_says_what_to_do(capsys, error, told):
    assert run_script(ending(error), "train.py", ()) == 2
    line = capsys.readouterr().err
    assert line.startswith("train.py: error: ") and line.endswith("give a smaller --num_workers, or 0\n")
    assert told in line and line.count("\n") == 1 and "pid" not in line


def test_other_faults_keep_their_traceback():
    with pytest.raises(RuntimeError, match="ours"):
        run_script(ending(RuntimeError("ours")), "train.py", ())
    assert issubclass(torch.OutOfMemoryError, RuntimeError)

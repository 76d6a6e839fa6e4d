import pytest
import torch

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


def test_other_faults_keep_their_traceback():
    with pytest.raises(RuntimeError, match="ours"):
        run_script(ending(RuntimeError("ours")), "train.py", ())
    assert issubclass(torch.OutOfMemoryError, RuntimeError)

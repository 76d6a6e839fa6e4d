import multiprocessing
import os
import signal
import time

import pytest

from tools.ending import ASKING, end_workers, undisturbed


def deaf(ready):
    """A worker that heeds no request, as those of loaders."""
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
    ready.release()
    while True:
        time.sleep(60)


def test_workers_that_heed_no_signal_and_are_stuck_end_soon_however_many():
    context = multiprocessing.get_context("fork")
    ready = context.Semaphore(0)
    workers = [context.Process(target=deaf, args=(ready,), daemon=True) for _ in range(12)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert ready.acquire(timeout=30)
    os.kill(workers[3].pid, signal.SIGSTOP)
    heard = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: heard.append(number))
    try:
        start = time.monotonic()
        end_workers()
        assert time.monotonic() - start < 2
        assert not any(worker.is_alive() for worker in workers)
        # torch would take it for a failure and raise that, here or later
        assert not heard and signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_signals_are_too_late_while_a_process_ends_and_are_heard_again_after_it():
    before = [signal.getsignal(number) for number in ASKING]
    with pytest.raises(KeyError), undisturbed():
        for number in ASKING:
            os.kill(os.getpid(), number)
        raise KeyError
    assert [signal.getsignal(number) for number in ASKING] == before


ENDLESS = """
import sys, time
from tools import ToolError, ending
from tools.console import run_script

ending.GRACE = 0.5

class Endless:
    def __del__(self):
        while True:
            time.sleep(1)

def main():
    held = Endless()
    raise ToolError("broken")

ending.finish(run_script(main, "x", ()))
"""

LATE = """
import threading, time
from tools import ending

threading.Thread(target=time.sleep, args=(1000,)).start()
print("told", end="")
ending.finish(75)
"""


@pytest.mark.parametrize(("program", "code", "told"), [(ENDLESS, 2, "x: error: broken\n"), (LATE, 75, "told")])
def test_a_script_that_failed_ends_though_something_of_it_does_not(as_user, tmp_path, program, code, told):
    path = tmp_path / "program.py"
    path.write_text(program)
    done = as_user(f"python {path}", timeout=60, PYTHONPATH=".")
    assert done.returncode == code and done.stdout + done.stderr == told

import multiprocessing
import os
import signal
import sys
import threading
import time

import pytest

from tools.ending import end_workers, exit_deadline, silent_finalizers
from tools.stop_signals import STOP_SIGNALS


def deaf(ready):
    """Worker that ignores requests to end, like those of loaders."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    ready.release()
    while True:
        time.sleep(60)


def test_many_workers_that_ignore_signals_or_are_stuck_end_soon():
    context = multiprocessing.get_context("fork")
    ready = context.Semaphore(0)
    workers = [context.Process(target=deaf, args=(ready,), daemon=True) for _ in range(12)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert ready.acquire(timeout=30)
    os.kill(workers[3].pid, signal.SIGSTOP)
    received = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: received.append(number))
    try:
        start = time.monotonic()
        end_workers()
        assert time.monotonic() - start < 2
        assert not any(worker.is_alive() for worker in workers)
        # torch's handler would report the end as a failure
        assert not received and signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGCHLD, before)


ENDLESS = """
import sys, time
from tools import ToolError, ending
from tools.console import run_script

ending.GRACE_SECONDS = 0.5

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
print("printed", end="")
ending.finish(75)
"""


SUCCESS = """
from tools import ending
import atexit, sys, threading, time

class Freed:
    def __del__(self):
        print("freed", flush=True)

kept = Freed()
sys.kept = kept
atexit.register(print, "handler")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
print("printed", end=" ")
ending.finish(0)
"""


def test_a_script_that_succeeds_runs_threads_and_exit_handlers_but_frees_nothing(as_user, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(SUCCESS)
    done = as_user(f"python {path}", timeout=60, PYTHONPATH=".")
    assert (done.returncode, done.stdout, done.stderr) == (0, "printed thread\nhandler\n", "")


@pytest.mark.parametrize(("program", "code", "output"), [(ENDLESS, 2, "x: error: broken\n"), (LATE, 75, "printed")])
def test_a_failed_script_ends_although_a_part_of_it_does_not(as_user, tmp_path, program, code, output):
    path = tmp_path / "program.py"
    path.write_text(program)
    done = as_user(f"python {path}", timeout=60, PYTHONPATH=".")
    assert done.returncode == code and done.stdout + done.stderr == output


def test_destructors_are_silent_once_the_error_is_reported_and_no_longer():
    before = sys.unraisablehook
    with silent_finalizers():
        assert sys.unraisablehook(None) is None
    assert sys.unraisablehook is before


def test_a_deadline_needs_no_thread(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with exit_deadline(2):
        pass

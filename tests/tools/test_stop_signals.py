"""Stop signals at any moment of a script: before its main function, in it, while a file is written, and after it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.console import run_script
from tools.files import atomic_file
from tools.stop_signals import STOP_SIGNALS, hold_stop_signals, ignore_stop_signals

ROOT = Path(__file__).parents[2]
ENDED = {
    signal.SIGINT: (130, "x: interrupted\n"),
    signal.SIGTERM: (75, "x: SIGTERM: ended before it was done; start it again with the same command\n"),
    signal.SIGUSR1: (75, "x: SIGUSR1: ended before it was done; start it again with the same command\n"),
}


@pytest.fixture(autouse=True)
def _sigint():
    """Ctrl-C is handled, as in a foreground job; the processes that the tests start inherit it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


def test_stop_signals_are_ignored_while_a_process_ends_and_handled_again_after_it():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with pytest.raises(KeyError), ignore_stop_signals():
        for number in STOP_SIGNALS:
            os.kill(os.getpid(), number)
        raise KeyError
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_ends_a_script_with_its_line_and_exit_code(number, capsys):
    before = [signal.getsignal(other) for other in STOP_SIGNALS]

    def main():
        try:
            send(number)
        finally:
            send(*STOP_SIGNALS)  # impatient: while the script ends
        raise AssertionError("a signal was missed")

    code = run_script(main, "x", ())
    assert (code, capsys.readouterr().err) == ENDED[number]
    assert [signal.getsignal(other) for other in STOP_SIGNALS] == before


def test_an_ignored_sigint_stays_ignored_as_in_a_background_job():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert run_script(lambda: send(signal.SIGINT), "x", ()) == 0


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_file_is_complete_before_a_signal_ends_the_script(number, capsys, tmp_path):
    path = tmp_path / "results.json"

    def main():
        with atomic_file(path) as file:
            file.write(b"first ")
            send(number, number)
            file.write(b"second")
        raise AssertionError("a signal was missed")

    assert run_script(main, "x", ()) == ENDED[number][0]
    assert path.read_bytes() == b"first second" and list(tmp_path.iterdir()) == [path]


START = """
import ctypes, os, signal, sys
from pathlib import Path
from tools import ending
from tools.stop_signals import end_on_stop_signals, raise_on_stop_signals

ending.GRACE_SECONDS = 0.2
end_on_stop_signals("x")
number, part = int(sys.argv[1]), Path(sys.argv[2])
part.touch()
ending.TEMPORARY_FILES.add(str(part))
"""
IMPORTING = "os.kill(os.getpid(), number); raise AssertionError"
UNCAUGHT = """
with raise_on_stop_signals("x"):
    os.kill(os.getpid(), number)
"""
SWALLOWED = """
class Last:
    def __del__(self):
        os.kill(os.getpid(), number)

with raise_on_stop_signals("x"):
    last = Last()
    del last
    print("the program went on")
"""
STUCK = """
lock, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
with raise_on_stop_signals("x"):
    library.pthread_mutex_lock(lock)
    os.posix_spawn("/bin/sh", ["sh", "-c", f"sleep 0.2; kill -{number} {os.getpid()}"], os.environ)
    library.pthread_mutex_lock(lock)  # never returns to Python
"""
DONE = """
with raise_on_stop_signals("x"):
    part.unlink()
os.kill(os.getpid(), number)
ending.finish(0)
"""


def run_program(text, tmp_path, number):
    path, part = tmp_path / "program.py", tmp_path / "file.part"
    path.write_text(START + text)
    done = subprocess.run(
        [sys.executable, str(path), str(int(number)), str(part)], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    return (done.returncode, done.stdout + done.stderr), part


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("text", [IMPORTING, UNCAUGHT, SWALLOWED, STUCK])
def test_a_signal_ends_a_process_with_one_line_where_no_exception_would(text, number, tmp_path):
    ended, part = run_program(text, tmp_path, number)
    assert ended == ENDED[number] and not part.exists()


def test_a_signal_after_the_end_of_the_work_does_not_change_the_exit_code(tmp_path):
    assert run_program(DONE, tmp_path, signal.SIGTERM)[0] == (0, "")


def handles(pid, number):
    """Whether a process has a handler of a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="looks for the handlers in /proc")
@pytest.mark.parametrize("script", ["train.py", "test.py", "torchcam_vis.py", "-m studies.head_study"])
def test_a_signal_during_the_imports_is_one_line(script):
    command = [sys.executable, *script.split(), "--device", "cpu"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not handles(process.pid, signal.SIGUSR1):
        assert process.poll() is None
        time.sleep(0.002)
    assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()  # long before the main function
    process.send_signal(signal.SIGUSR1)
    name = script.rpartition(".")[2] if "-m" in script else script
    assert process.communicate(timeout=60)[0] == ENDED[signal.SIGUSR1][1].replace("x: ", f"{name}: ", 1)
    assert process.returncode == 75


def test_the_arrival_of_a_held_signal_is_reported_unless_it_is_ignored():
    seen = []
    before = {s: signal.getsignal(s) for s in (signal.SIGUSR1, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGUSR1, lambda *_: seen.append("effect"))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with hold_stop_signals(lambda: seen.append("arrived")):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGUSR1)
            assert seen == ["arrived"]
        assert seen == ["arrived", "effect"]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

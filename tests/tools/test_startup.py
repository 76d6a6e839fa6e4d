import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tools import ToolError, startup
from tools.startup import choose_temporary_folder, limit_message

ROOT = Path(__file__).parents[2]
# What Windows lacks (os.sched_getaffinity also macOS) and PyTorch does not need on Linux, and how both start processes.
ELSEWHERE = """
import multiprocessing, os, signal, sys
for name in ("SIGUSR1", "SIGUSR2", "SIGBUS", "SIGHUP", "pthread_sigmask"):
    delattr(signal, name)
for name in ("sched_getaffinity", "set_blocking", "sysconf"):
    delattr(os, name)
sys.modules |= {"resource": None, "fcntl": None}
multiprocessing.set_start_method("spawn", force=True)
"""


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_low_soft_limit_on_open_files_is_raised_as_far_as_is_allowed():
    code = ("import resource as r; r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard})); from tools.startup import "
            "raise_file_limit; raise_file_limit(); print(r.getrlimit(r.RLIMIT_NOFILE))")  # fmt: skip
    assert python(code.format(soft=24, hard=100)).stdout == "(100, 100)\n"
    assert python(code.format(soft=24, hard=9000)).stdout == "(4096, 9000)\n"
    assert python(code.format(soft=5000, hard=9000)).stdout == "(5000, 9000)\n"


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """Sets the temporary folder that the system gives, and the one of shared memory."""

    def set_up(usual: Path | None, shared: Path) -> None:
        def gettempdir() -> str:
            if usual is None:
                raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")
            return str(usual)

        monkeypatch.setenv("TMPDIR", str(usual))
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(tempfile, "gettempdir", gettempdir)
        monkeypatch.setattr(startup, "SHORT_FOLDERS", (str(shared),))

    return set_up


def test_shared_memory_replaces_a_temporary_folder_that_is_missing_or_too_long(temporary, tmp_path):
    for usual in (None, Path("/" + "long/" * 20)):
        temporary(usual, tmp_path)
        choose_temporary_folder()
        assert tempfile.tempdir == os.environ["TMPDIR"] == str(tmp_path)
    temporary(Path("/short"), tmp_path)
    choose_temporary_folder()
    assert tempfile.tempdir is None and os.environ["TMPDIR"] == "/short"


def test_without_any_folder_for_temporary_files_the_message_names_the_variable(temporary, tmp_path):
    temporary(None, tmp_path / "missing")
    with pytest.raises(ToolError, match="set TMPDIR"):
        choose_temporary_folder()


def test_errors_of_limits_are_told_from_others(monkeypatch):
    for error, told in (
        (MemoryError(), "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory"),
        (RuntimeError("can't start new thread"), "(ulimit -u)"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "(ulimit -u)"),
        (OSError(errno.EMFILE, "Too many open files"), "(ulimit -n)"),
    ):
        assert told in limit_message(error)
    assert limit_message(RuntimeError("shapes differ")) is None
    assert limit_message(SystemError("error return without exception set")) is None
    monkeypatch.setattr(startup, "address_space", lambda: 3 * 2**30)
    for error in (MemoryError(), SystemError("error return without exception set")):
        assert "limited to 3.0 GiB (ulimit -v)" in limit_message(error)


def test_too_little_address_space_for_the_imports_is_one_line():
    done = python("import resource as r, runpy, sys; sys.argv = ['train.py']; "
                  "r.setrlimit(r.RLIMIT_AS, (300 * 2**20, r.getrlimit(r.RLIMIT_AS)[1])); "
                  "runpy.run_path('train.py', run_name='__main__')")  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    line = "train.py: error: PyTorch cannot be imported: the address space of this process is limited to 300.0 MiB"
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_a_training_with_what_macos_and_windows_have(as_user, tmp_path, tiny):
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE)
    for script in ("test", "torchcam_vis"):
        assert as_user(f"python {script}.py --help", PYTHONPATH=str(tmp_path)).returncode == 0
    flags = tiny.replace("--num_workers 0", "--num_workers 1")
    done = as_user(f"python train.py {flags} --epochs 1 --cache ram --output_dir {tmp_path}", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "MNIST5k_use_slot_checkpoint.pth").is_file()


def test_a_folder_of_matplotlib_that_cannot_be_written_is_no_matter(as_user):
    program = "from tools.startup import prepare_imports; prepare_imports(); import matplotlib"
    done = as_user(f"python -c '{program}'", MPLCONFIGDIR="/proc/nowhere")
    assert done.returncode == 0 and done.stderr == ""

"""Preparation of a process before its heavy imports: limits of the system, and folders for temporary files."""

import contextlib
import errno
import importlib
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from tools import ToolError
from tools.ending import exit_now
from tools.text import size_text, visible

OPEN_FILES = 4096  # per process, where the system allows as many
LONGEST_FOLDER = 60  # bytes of a temporary folder, in which workers open sockets with paths of at most 107
SHORT_FOLDERS = ("/tmp", "/dev/shm")
AMPLE_MEMORY = 8 * 2**30  # bytes of address space that are enough for the libraries of any build of PyTorch
NO_MEMORY = ("an't allocate memory", "annot allocate memory", "failed to map segment", "std::bad_alloc")


def prepare_imports() -> None:
    """Prepare this process for the import of torch; does nothing once torch is imported.

    Raises:
        ToolError: the address space is too small for PyTorch, or there is no folder for temporary files.
    """
    if "torch" in sys.modules:
        return
    if "RANK" in os.environ or "SLURM_PROCID" in os.environ:
        # Each process of a launch would report a lost connection with a stack of C++ frames, beside our line; torch
        # reads this when it is imported.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    sys.excepthook = _report
    # Where its folder cannot be written, matplotlib takes a temporary one, and needs three lines to say so.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    raise_file_limit()
    choose_temporary_folder()
    check_address_space()


def _resource() -> Any:
    """The module of the limits of a process; None on Windows, which has none."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("resource")
    return None


def raise_file_limit() -> None:
    """Raise the number of files that this process may open, which is as low as 256 on macOS, as far as is allowed."""
    if (resource := _resource()) is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def choose_temporary_folder() -> None:
    """Take another folder, such as shared memory, where the usual one cannot be written or has too long a path.

    Raises:
        ToolError: none can be written.
    """
    usual = ""
    with contextlib.suppress(OSError):
        usual = tempfile.gettempdir()
    if usual and len(os.fsencode(usual)) <= LONGEST_FOLDER:
        return
    for folder in SHORT_FOLDERS:
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder):
            os.environ["TMPDIR"] = tempfile.tempdir = folder  # the variable is for processes that this one starts
            return
    if not usual:
        raise ToolError("no folder for temporary files can be written (/tmp and others): set TMPDIR to one that can")


def address_space() -> int | None:
    """Bytes of address space that this process may use (``ulimit -v``); None without a limit."""
    if (resource := _resource()) is None:
        return None
    limit: int = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def check_address_space() -> None:
    """Import torch in another process first, if there is a low limit: it may end by a signal, without an error.

    Raises:
        ToolError: torch cannot be imported there.
    """
    limit = address_space()
    if limit is None or limit >= AMPLE_MEMORY:
        return
    trial = [sys.executable, "-c", "import torch, torchvision"]
    if subprocess.run(trial, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        raise ToolError(f"PyTorch cannot be imported: {memory_message()}")


def memory_message() -> str:
    """What to do about an allocation that failed."""
    if limit := address_space():
        return (f"the address space of this process is limited to {size_text(limit)} (ulimit -v), too little here: "
                "raise the limit, or give a smaller --batch_size")  # fmt: skip
    return "out of memory: give a smaller --batch_size, --img_size or --num_workers"


def limit_message(error: BaseException) -> str | None:
    """Message for an error that comes from a limit of the system; None for another one."""
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(words in text for words in NO_MEMORY):
        return memory_message()
    if isinstance(error, SystemError) and address_space():  # Python's own, for an allocation that failed
        return memory_message()
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text:
        return "too many open files: raise the limit (ulimit -n), or give a smaller --num_workers, or 0"
    if number == errno.EAGAIN or "can't start new thread" in text:
        return ("no more threads or processes can be started: raise the limit (ulimit -u), or end other programs; "
                "--num_workers 0 and OMP_NUM_THREADS=1 need fewer")  # fmt: skip
    return None


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error of the imports: one line if it comes from the system, else its traceback."""
    message = str(error) if isinstance(error, ToolError) else limit_message(error)
    if message is None and isinstance(error, OSError):
        message = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    if message is None:
        sys.__excepthook__(kind, error, trace)
        return
    print(f"{Path(sys.argv[0]).name}: error: {visible(message)}", file=sys.stderr)
    exit_now(2)

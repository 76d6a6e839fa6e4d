"""The console: how a script starts and ends, and the lines, tables and progress bars between.

A script ends with a traceback only if the fault is the program's, and within seconds in any case.
"""

import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from tqdm import tqdm

from tools import ToolError, distributed
from tools.distributed import is_main
from tools.distributed.preemption import Interrupted
from tools.ending import end_workers, ending, undisturbed
from tools.machine import keep_freed_memory, pick_device, set_numerics

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
RESUME_ME = 75  # EX_TEMPFAIL of sysexits.h: not done, try again
FEWER = "give a smaller --num_workers, or 0"


def run_script(main: Callable[[], None], script: str, errors: tuple[type[Exception], ...]) -> int:
    """Call a script's main and turn what a user can mend into one line and exit code 2.

    Of several processes the first one to fail shows why, and all end. The workers of loaders end here, too.

    Args:
        main: the script.
        script: its name, for the line.
        errors: what the script's parts raise for wrong input.
    """
    last = ExitStack()
    try:
        return _run(main, script, errors, last)
    finally:
        distributed.close()
        last.close()


def _run(main: Callable[[], None], script: str, errors: tuple[type[Exception], ...], last: ExitStack) -> int:
    """Call the main and tell how it ended; what holds until the very end of the script is entered into ``last``."""
    try:
        main()
    except (Exception, KeyboardInterrupt) as error:
        last.enter_context(undisturbed())
        # Before the error goes, and with it the loaders that it holds on to: they would wait for each of their workers.
        end_workers()
        code = _tell(error, script, errors)
        if distributed.world_size() == 1:  # of several, one may still save what it was asked to leave with
            last.enter_context(ending(code))
        return code
    end_workers()
    return 0


def _tell(error: BaseException, script: str, errors: tuple[type[Exception], ...]) -> int:
    """Say why the script ends; returns its exit code, or raises the error anew if the fault is the program's."""
    if isinstance(error, KeyboardInterrupt):
        return distributed.fail(f"{script}: interrupted", INTERRUPTED)
    if isinstance(error, Interrupted):
        say(str(error))
        return RESUME_ME
    if told := _reason(error, errors):
        return _fail(script, told)
    if distributed.world_size() == 1:
        raise error
    if isinstance(error, Exception):
        distributed.check_connection(error)
    return distributed.fail("".join(traceback.format_exception(error)).rstrip(), 1)


def _reason(error: BaseException, errors: tuple[type[Exception], ...]) -> str | None:
    """What to say of an error that a user can mend."""
    if told := _worker_at_fault(error):
        return told
    if isinstance(error, (ToolError, *errors)):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory on the device: give a smaller --batch_size or --img_size"
    if isinstance(error, RuntimeError):
        return _switch_at_fault(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    return None


def _worker_at_fault(error: BaseException) -> str | None:
    """What to say of an error of torch that tells of a loader's worker, not of a picture.

    It is raised wherever the main process is when the worker ends, so it may be the reason of another error.
    """
    text = f"{error} {error.__cause__}"
    if "DataLoader worker (pid" in text:
        how = re.search(r"signal: [^.]+|exit code \d+", text)
        return (f"a process that loads pictures was ended ({how[0] if how else 'nothing is known of it'}), mostly "
                f"by the system because memory or /dev/shm is used up: {FEWER}")  # fmt: skip
    if not isinstance(error, RuntimeError):
        return None
    if "Too many open files" in text:
        return f"too many open files: raise the limit (ulimit -n), or {FEWER}"
    if "shared memory" in text or "</torch_" in text:
        return f"no room in the memory that processes share: enlarge /dev/shm (docker run --shm-size), or {FEWER}"
    return None


def _switch_at_fault(error: RuntimeError) -> str | None:
    """What to say of an error of torch that goes away with one of our flags."""
    first = str(error).strip().partition("\n")[0][:160]
    if "does not have a deterministic implementation" in first:
        operation = first.partition(" does not have")[0]
        return f"--deterministic: {operation} cannot be repeated bit by bit on this device; leave the flag away"
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"--compile: this model cannot be compiled here ({first}); leave the flag away"
    return None


def _fail(script: str, message: str) -> int:
    # An error of a loader's worker process arrives with its traceback: the last line is the message.
    line = message.strip().splitlines()[-1].rpartition("Error: ")[2] if "Traceback" in message else message
    return distributed.fail(f"{script}: error: {line}", 2)


def start_script(
    script: str, *, dist_url: str, world_size: int, device: str | None, tf32: bool, deterministic: bool,
    hints: Sequence[str] = (),
) -> torch.device:  # fmt: skip
    """Everything between the flags and the work of a script: console, processes, device, arithmetic.

    Args:
        script: its name, for notes.
        dist_url, world_size: see :func:`tools.distributed.join`.
        device: see :func:`tools.machine.pick_device`.
        tf32, deterministic: see :func:`tools.machine.set_numerics`.
        hints: notes about the flags.

    Raises:
        ToolError: the processes or the device cannot be had.
    """
    set_up_console(script)
    distributed.join(dist_url=dist_url, world_size=world_size)
    chosen = pick_device(device)
    if chosen.type == "cpu":
        keep_freed_memory()
    set_numerics(chosen, tf32=tf32, deterministic=deterministic)
    distributed.init(chosen)
    for hint in hints:
        logging.getLogger(script).warning("%s", hint)
    return chosen


def set_up_console(script: str) -> None:
    """Notes of all parts of the program as single lines on standard error, from the main process alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{script}: note: %(message)s"))
    handler.addFilter(lambda record: is_main())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def say(line: str) -> None:
    """Print a line, from the main process alone."""
    if is_main():
        print(line, flush=True)


def progress(batches: Iterable[Any], title: str) -> tqdm:
    """A progress bar over batches, on the main process alone; it leaves no line behind."""
    # Into a file, ten updates a second would be noise.
    quiet = {} if sys.stderr.isatty() else {"mininterval": 10.0, "delay": 10.0}
    return tqdm(batches, desc=title, leave=False, disable=not is_main(), unit="batch", dynamic_ncols=True, **quiet)


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as an aligned text table."""
    cells = [list(rows[0])] + [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)

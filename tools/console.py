"""Console: start and end of a script, and the lines, tables and progress bars that it prints.

A script ends within seconds, and prints a traceback only for a bug.
"""

import io
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from tqdm import tqdm

from tools import ToolError, distributed, first_line
from tools.distributed import is_main
from tools.distributed.preemption import Interrupted
from tools.ending import end_workers, exit_deadline, silent_finalizers
from tools.machine import keep_freed_memory, pick_device, set_numerics
from tools.startup import limit_message
from tools.stop_signals import EXIT_RESUME, Preempted, ended_by, ignore_stop_signals, raise_on_stop_signals
from tools.text import visible

FEWER_WORKERS = "give a smaller --num_workers, or 0"


def run_script(main: Callable[[], None], script: str, errors: tuple[type[Exception], ...]) -> int:
    """Run a script; an error that the user can fix becomes one line and exit code 2.

    If one of several processes fails, it reports the reason and all end. The loaders' workers are ended, too.

    Args:
        main: the script.
        script: its name, printed before the message.
        errors: errors that the script's parts raise for wrong input.

    Returns:
        The exit code.
    """
    until_closed = ExitStack()
    try:
        return _run(main, script, errors, until_closed)
    finally:
        distributed.close()
        until_closed.close()


def _run(main: Callable[[], None], script: str, errors: tuple[type[Exception], ...], until_closed: ExitStack) -> int:
    """Call ``main`` and return the exit code; ``until_closed`` gets the contexts that outlast the process group."""
    try:
        with raise_on_stop_signals(script):
            main()
    except (Exception, KeyboardInterrupt) as error:
        until_closed.enter_context(ignore_stop_signals())
        until_closed.enter_context(silent_finalizers())
        for bar in list(getattr(tqdm, "_instances", ())):  # the error keeps it on the line of the message
            bar.close()
        # The error keeps the loaders alive; freeing it would make them wait for each of their workers.
        end_workers()
        code = _report(error, script, errors)
        if distributed.world_size() == 1:  # another process of a group may still be saving its state
            until_closed.enter_context(exit_deadline(code))
        return code
    end_workers()
    return 0


def _report(error: BaseException, script: str, errors: tuple[type[Exception], ...]) -> int:
    """Print why the script ends, with the traceback if it is a bug, and return its exit code."""
    if isinstance(error, KeyboardInterrupt):
        if error.args and not isinstance(error, Preempted):
            say(str(error))  # what is saved
        return distributed.fail(*ended_by(script, error))
    if isinstance(error, Interrupted):
        say(str(error))
        return EXIT_RESUME
    if message := _user_message(error, errors):
        return _fail(script, message)
    if isinstance(error, Exception):
        distributed.check_connection(error)  # returns if there is only one process
    return distributed.fail("".join(traceback.format_exception(error)).rstrip(), 1)


def _user_message(error: BaseException, errors: tuple[type[Exception], ...]) -> str | None:
    """Message for an error that the user can fix; None for a bug."""
    if message := _worker_message(error):
        return message
    if isinstance(error, (ToolError, *errors)):
        return str(error)
    if message := limit_message(error):
        return message
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory on the device: give a smaller --batch_size or --img_size"
    if isinstance(error, RuntimeError):
        return _flag_message(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    return None


def _worker_message(error: BaseException) -> str | None:
    """Message if torch reports that a loader's worker ended or lacks memory or files; else None.

    torch raises this error wherever the main process is at that moment, so it may be the cause of another error.
    """
    text = f"{error} {error.__cause__}"
    if "DataLoader worker (pid" in text:
        how = re.search(r"signal: [^.]+|exit code \d+", text)
        return (f"a process that loads pictures was ended ({how[0] if how else 'reason unknown'}), usually by the "
                f"system because memory or /dev/shm is full: {FEWER_WORKERS}")  # fmt: skip
    if not isinstance(error, RuntimeError):
        return None
    if "shared memory" in text or "</torch_" in text:
        return f"shared memory is full: enlarge /dev/shm (docker run --shm-size), or {FEWER_WORKERS}"
    return None


def _flag_message(error: RuntimeError) -> str | None:
    """Message if the error comes from --deterministic or --compile; else None."""
    first = first_line(error)
    if "does not have a deterministic implementation" in first:
        operation = first.partition(" does not have")[0]
        return f"--deterministic: {operation} is not deterministic on this device; leave the flag out"
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"--compile: this model cannot be compiled here ({first}); leave the flag out"
    return None


def _fail(script: str, message: str) -> int:
    # An error of a loader's worker arrives as its whole traceback, which ends with the message.
    line = message.strip().splitlines()[-1].rpartition("Error: ")[2] if "Traceback" in message else message
    return distributed.fail(f"{script}: error: {visible(line)}", 2)


def start_script(
    script: str, *, dist_url: str, world_size: int, device: str | None, tf32: bool, deterministic: bool,
    hints: Sequence[str] = (),
) -> torch.device:  # fmt: skip
    """Set up the console, the process group, the device and the numerics of a script; return the device.

    Args:
        script: its name, printed before notes.
        dist_url, world_size: see :func:`tools.distributed.join`.
        device: see :func:`tools.machine.pick_device`.
        tf32, deterministic: see :func:`tools.machine.set_numerics`.
        hints: notes about the flags.

    Raises:
        ToolError: the process group cannot be formed, or the device is not available.
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
    """Print log records of all modules as one-line notes on standard error, from the main process alone."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character gets its code
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_NoteFormatter(f"{script}: note: %(message)s"))
    handler.addFilter(lambda record: is_main())
    handler.addFilter(first_time())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def first_time() -> Callable[[logging.LogRecord], bool]:
    """Build a filter that drops the repetitions of a record that is logged with ``extra={"once": True}``."""
    seen: set[str] = set()

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage() if getattr(record, "once", False) else ""
        new = text not in seen
        seen.update([text] if text else [])
        return new

    return keep


def say(line: str, *, several: bool = False) -> None:
    """Print a line, from the main process alone; control characters in it, as in a file's name, become escapes.

    Args:
        line: the text.
        several: it has several lines, made by the program, such as a table.
    """
    if is_main():
        print(visible(line, keep="\n" if several else ""), flush=True)


class _NoteFormatter(logging.Formatter):
    """Formatter of one-line notes, in which control characters become escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """Text of a record."""
        return visible(super().format(record), keep="\n" if record.exc_info else "")


def progress(batches: Iterable[Any], title: str) -> tqdm:
    """Progress bar over batches, shown by the main process alone and erased at the end."""
    # In a log file, ten updates a second would be noise.
    quiet = {} if sys.stderr.isatty() else {"mininterval": 10.0, "delay": 10.0}
    return tqdm(batches, desc=title, leave=False, disable=not is_main(), unit="batch", dynamic_ncols=True, **quiet)


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Aligned text table of rows with the same keys; floats have four decimals."""
    cells = [list(rows[0])] + [[f"{v:.4f}" if isinstance(v, float) else visible(str(v)) for v in row.values()]
                               for row in rows]  # fmt: skip
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)

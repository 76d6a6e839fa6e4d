"""How a script ends: with a traceback only if the fault is the program's."""

import traceback
from collections.abc import Callable

import torch

from tools import ToolError, distributed
from tools.logger import say
from tools.stopping import Interrupted

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
RESUME_ME = 75  # EX_TEMPFAIL of sysexits.h: not done, try again


def run_script(main: Callable[[], None], script: str, errors: tuple[type[Exception], ...]) -> int:
    """Call a script's main and turn what a user can mend into one line and exit code 2.

    Of several processes the first one to fail shows why, and all end.

    Args:
        main: the script.
        script: its name, for the line.
        errors: what the script's parts raise for wrong input.
    """
    try:
        return _run(main, script, errors)
    except Exception as error:
        if distributed.world_size() == 1:
            raise
        distributed.check_connection(error)
        return distributed.fail(traceback.format_exc().rstrip(), 1)
    finally:
        distributed.close()


def _run(main: Callable[[], None], script: str, errors: tuple[type[Exception], ...]) -> int:
    try:
        main()
    except ToolError as error:
        return _fail(script, str(error))
    except errors as error:
        return _fail(script, str(error))
    except Interrupted as stopped:
        say(str(stopped))
        return RESUME_ME
    except torch.OutOfMemoryError:
        return _fail(script, "out of memory on the device: give a smaller --batch_size or --img_size")
    except RuntimeError as error:
        if told := _switch_at_fault(error):
            return _fail(script, told)
        raise
    except OSError as error:
        return _fail(script, f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        return distributed.fail(f"{script}: interrupted", INTERRUPTED)
    return 0


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

"""How a script ends: with a traceback only if the fault is the program's."""

import sys
from collections.abc import Callable

import torch

from tools import ToolError
from tools.distributed import close

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def run_script(main: Callable[[], None], script: str, errors: tuple[type[Exception], ...]) -> int:
    """Call a script's main and turn what a user can mend into one line and exit code 2.

    Args:
        main: the script.
        script: its name, for the line.
        errors: what the script's parts raise for wrong input.
    """
    try:
        main()
    except ToolError as error:
        return _fail(script, str(error))
    except errors as error:
        return _fail(script, str(error))
    except torch.OutOfMemoryError:
        return _fail(script, "out of memory on the device: give a smaller --batch_size or --img_size")
    except OSError as error:
        return _fail(script, f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        print(f"{script}: interrupted", file=sys.stderr, flush=True)
        return INTERRUPTED
    finally:
        close()
    return 0


def _fail(script: str, message: str) -> int:
    # An error of a loader's worker process arrives with its traceback: the last line is the message.
    line = message.strip().splitlines()[-1].rpartition("Error: ")[2] if "Traceback" in message else message
    print(f"{script}: error: {line}", file=sys.stderr, flush=True)
    return 2

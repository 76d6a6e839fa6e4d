"""Forwarding of old ``python -m`` paths to the programs that have moved."""

import runpy
import sys


def run(old: str, new: str) -> None:
    """Print a note that ``old`` is now ``new``, and run ``new`` with the arguments of this process."""
    print(f"note: python -m {old} is now python -m {new}", file=sys.stderr)
    runpy.run_module(new, run_name="__main__", alter_sys=True)

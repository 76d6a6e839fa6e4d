"""Programs that have moved: the old ``python -m`` path runs the new one, after one line that says so."""

import runpy
import sys


def run(old: str, new: str) -> None:
    """Run the module ``new`` as a program, with the arguments of this one."""
    print(f"note: python -m {old} is now python -m {new}", file=sys.stderr)
    runpy.run_module(new, run_name="__main__", alter_sys=True)

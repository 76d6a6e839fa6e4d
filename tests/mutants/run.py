"""Plant faults in a copy of the project and see a test turn red: ``python tests/mutants/run.py [NAME ...]``.

Each ``.patch`` file of this folder is a fault of one line that raises no exception; its first line names the test that
must see it. A fault that no test sees is printed as GREEN, and the program then exits with 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SEEN_BY = "Seen by: "
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "saved_model", "data", "docs")


def patches() -> dict[str, Path]:
    """The faults by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.patch"))}


def seen_by(patch: Path) -> str:
    """The test that must turn red, as pytest names it."""
    return patch.read_text().splitlines()[0].removeprefix(SEEN_BY)


def planted(patch: Path, copy: Path, *options: str) -> subprocess.CompletedProcess:
    """Apply a patch to a copy of the project, or check it with ``--check``, or take it back with ``--reverse``."""
    return subprocess.run(["git", "apply", *options, str(patch)], cwd=copy, capture_output=True, text=True)


def is_red(patch: Path, copy: Path) -> bool:
    """Plant a fault, run its test, and take the fault back; whether an assertion of the test failed."""
    applied = planted(patch, copy)
    assert applied.returncode == 0, applied.stderr
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", seen_by(patch)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, env=environment)
    finally:
        planted(patch, copy, "--reverse")
    assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr[-2000:]  # 1: tests ran, and some failed
    return done.returncode == 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant faults in a copy of the project and see tests turn red.")
    parser.add_argument("names", nargs="*", help=f"faults, of {', '.join(patches())}; all if none is given")
    names = parser.parse_args().names or list(patches())
    unseen = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        subprocess.run(["git", "init", "-q"], cwd=copy, check=True)  # so that git applies there, not in a folder above
        for name in names:
            red = is_red(patches()[name], copy)
            unseen += not red
            print(f"{'red' if red else 'GREEN'}  {name}: {seen_by(patches()[name])}", flush=True)
    print(f"{len(names) - unseen} of {len(names)} faults were seen")
    return min(unseen, 1)


if __name__ == "__main__":
    sys.exit(main())

"""Start and end of a script, and the check of many picture files before a run, at a first and at a second start."""

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from dataset import Listing
from dataset.check import check_pictures, warn_of_shared
from dataset.scan import nested_pictures
from engine.known_pictures import known_pictures
from tools.array_record import FOLDER_VARIABLE

FILES = {True: 2000, False: 300_000}
VALIDATION = 30  # one file of so many
CLASSES = 100
ROUNDS = {True: 1, False: 3}
ROOT = Path(__file__).parents[2]
RUN = ("train.py", "@recipes/quickstart.txt", "--output_dir", "")


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure the start of Python with the libraries and of a script, and checks of a tree of files; returns rows."""
    rounds, own = range(ROUNDS[run.quick]), ("--device", device.type)
    imports = statistics.median(lines(["-c", "import torch, torchvision, timm; print()"])[0] for _ in rounds)
    first = statistics.median(lines([*RUN, *own], whole=False)[0] for _ in rounds)
    end = statistics.median(lines([*RUN, *own, "--thop", "true"])[1] for _ in rounds)
    rows = [
        {"start": "torch, torchvision, timm imported", "CPU s": imports, "wall s": ""},
        {"start": "first line of train.py", "CPU s": first, "wall s": ""},
        {"start": "end of train.py after its last line", "CPU s": "", "wall s": end},
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_tree(Path(folder, "data"), FILES[run.quick])
        before = os.environ.get(FOLDER_VARIABLE)
        os.environ[FOLDER_VARIABLE] = f"{folder}/cache"
        try:
            for name in ("first", "second"):
                rows += [{"start": f"{what}, {FILES[run.quick]} files, {name} start", **seconds}
                         for what, seconds in checks(Path(folder, "data")).items()]  # fmt: skip
        finally:
            os.environ.pop(FOLDER_VARIABLE)
            os.environ |= {FOLDER_VARIABLE: before} if before is not None else {}
    return rows


def lines(words: list[str], *, whole: bool = True) -> tuple[float, float]:
    """CPU seconds of a Python program at its first line of output, and seconds from its last line to its end.

    Args:
        words: its command line after ``python``.
        whole: let it run to its end; otherwise it is ended after its first line.
    """
    with subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        used = cpu_seconds(program.pid)
        last = time.perf_counter()
        if not whole:
            program.kill()
        for _ in program.stdout:
            last = time.perf_counter()
        program.wait()
        return used, time.perf_counter() - last


def cpu_seconds(process: int) -> float:
    """CPU seconds that a process has used so far; not a number where the system does not say it (outside Linux)."""
    file = Path(f"/proc/{process}/stat")
    if not file.is_file():
        return float("nan")
    fields = file.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_tree(root: Path, count: int) -> None:
    """Write PNG files of random pixels, 0.3 to 4 KB large, in folders of the splits and classes."""
    draw = Random(0)
    for number in range(count):
        file = root / ("train" if number % VALIDATION else "val") / str(number % CLASSES) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        side = draw.randrange(9, 36)
        pixels = b"".join(b"\0" + draw.randbytes(3 * side) for _ in range(side))
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 0)), (b"IEND", b""))
        chunks = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                  for kind, data in parts)  # fmt: skip
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def checks(root: Path) -> dict[str, dict[str, float]]:
    """Seconds of the two things that a run does with its files before training, and of reading the record of them."""
    splits = {}
    for split in ("train", "val"):
        files = nested_pictures(root / split)
        splits[split] = Listing(files, [int(file.parent.name) for file in files], [str(c) for c in range(CLASSES)])
    found: dict[str, dict[str, float]] = {}

    def timed(name: str, action: Callable[[], Any]) -> Any:
        start = time.process_time(), time.perf_counter()
        result = action()
        found[name] = {"CPU s": time.process_time() - start[0], "wall s": time.perf_counter() - start[1]}
        return result

    known = timed("record read", lambda: known_pictures(str(root)))
    timed("files checked, classes compared", lambda: [check_pictures(s, "error", known) for s in splits.values()])
    timed("splits compared", lambda: warn_of_shared(splits["train"], splits["val"], known=known))
    return found

"""Runs that fail or are ended while processes load for them: one line, the exit code, and soon nothing left of them."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from dataset.loaders import usable_workers
from tools import checkpoint

ROOT = Path(__file__).parents[1]
SOON = 10.0  # seconds from the line that says why to the end of all processes
MODEL = (
    "--dataset Folder --model test_resnet --pre_trained false --out_stage 2 --img_size 16 --attention qknorm "
    "--batch_size 4 --num_workers 2 --device cpu"
)
NAME = "Folder_use_slot_checkpoint.pth"
TORCHRUN = "-m torch.distributed.run --standalone --nproc_per_node=2"

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="looks for processes in /proc")


class Run:
    """A command as a user starts it, the lines that it prints with their times, and all processes that come of it."""

    def __init__(self, command: str, *, shell: str = "") -> None:
        self.mark = uuid.uuid4().hex
        words = [sys.executable, *shlex.split(command)]
        if shell:
            words = ["bash", "-c", f'{shell}; exec "$@"', "bash", *words]
        # Tests that a shell started in the background ignore it, and the programs they start would inherit that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "STARTED_BY": self.mark, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        signal.signal(signal.SIGINT, before)
        self.out: list[tuple[float, str]] = []
        self.err: list[tuple[float, str]] = []
        self.readers = [
            threading.Thread(target=_note_lines, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self.readers:
            reader.start()

    def pids(self) -> list[int]:
        """All processes that live and have come of the command, however far away."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and f"STARTED_BY={self.mark}" in (entry / "environ").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue  # gone meanwhile
        return found

    def workers(self) -> list[int]:
        """Processes that load pictures, the oldest first."""
        return sorted(pid for pid in self.pids() if _command_of(pid) == "pt_data_worker")

    def wait_for(self, text: str, lines: list[tuple[float, str]]) -> float:
        """When a line with a text came."""
        return wait_until(lambda: next((at for at, line in list(lines) if text in line), None), told=self.printed)

    def printed(self) -> str:
        return "".join(line for _, line in [*self.out, *self.err])

    def kill(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class Ended(NamedTuple):
    code: int
    line: str  # that said why
    out: str


def _note_lines(pipe: IO[str], lines: list[tuple[float, str]]) -> None:
    for line in pipe:
        lines.append((time.monotonic(), line))


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def wait_until(condition: Callable, *, seconds: float = 60, told: Callable[[], str] = str):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, told()
        time.sleep(0.05)
    return found


@pytest.fixture
def started():
    """Starts a command; whatever is left of it after the test is killed."""
    runs: list[Run] = []

    def start(command: str, **options: str) -> Run:
        runs.append(Run(command, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


def ends_soon(run: Run, line: str, lines: list[tuple[float, str]]) -> Ended:
    """The end of a run, all of whose processes have to be gone soon after a line."""
    at = run.wait_for(line, lines)
    try:
        wait_until(lambda: run.process.poll() is not None and not run.pids(), seconds=SOON - (time.monotonic() - at))
    except AssertionError:
        pytest.fail(f"{len(run.pids())} processes live on {SOON:.0f} s after {line!r}:\n{run.printed()}")
    for reader in run.readers:
        reader.join(timeout=SOON)
    told = next(text for _, text in lines if line in text)
    return Ended(run.process.returncode, told.rstrip("\n"), "".join(text for _, text in run.out))


def fails_soon(run: Run, script: str) -> str:
    """The one line of a run that fails, with exit code 2 and nothing else on standard error but notes."""
    ended = ends_soon(run, f"{script}: error: ", run.err)
    assert ended.code == 2, run.printed()
    assert errors_of(run) == [ended.line], run.printed()
    return ended.line


def errors_of(run: Run) -> list[str]:
    """What is on standard error but for notes and progress bars."""
    lines = "".join(line for _, line in run.err).splitlines()  # also where a bar begins anew
    return [line for line in lines if line.strip() and ": note: " not in line and not re.match(r"[\w /]+: .*\|", line)]


def spoil(path: Path) -> None:
    """Make a picture of a PNG file whose header and checksums are right and whose data are not those of a picture."""
    data = path.read_bytes()
    start = data.index(b"IDAT")
    wrong = b"IDAT" + b"no picture"
    chunk = len(wrong[4:]).to_bytes(4, "big") + wrong + zlib.crc32(wrong).to_bytes(4, "big")
    path.write_bytes(data[: start - 4] + chunk + data[data.index(b"IEND") - 4 :])


@pytest.fixture
def pictures(tmp_path, picture_writer):
    """A folder of two classes, each with 16 pictures to train and 16 to validate."""
    for split in ("train", "val"):
        for number in range(16):
            for name, colour in (("red", (200, number, 0)), ("blue", (0, number, 200))):
                picture_writer(tmp_path / "data" / split / name / f"{number}.png", size=(20, 20), colour=colour)
    return tmp_path / "data"


@pytest.fixture
def flags(pictures, tmp_path):
    """Those of a small training on these pictures, with two workers; it leaves its files in the folder out."""
    return f"{MODEL} --dataset_dir {pictures} --output_dir {tmp_path / 'out'}"


@pytest.fixture
def training(started, flags):
    """A training that has started its second epoch, or is about to: it would go on for long."""
    run = started(f"train.py {flags} --epochs 400")
    run.wait_for("epoch 1/400", run.out)
    return run


def test_what_fails_in_the_loader_in_a_worker_or_in_the_step_ends_the_training(started, pictures, flags, tmp_path):
    spoiled = shutil.copytree(pictures, tmp_path / "spoiled")
    spoil(spoiled / "train" / "red" / "7.png")
    runs = {
        "red/7.png cannot be read: ": started(f"train.py {flags} --dataset_dir {spoiled} --epochs 2"),
        "the loss is not finite in epoch 1": started(
            f"train.py {flags} --lr 1e30 --epochs 2 --output_dir {tmp_path}/other"
        ),
        # Here what may not grow beyond 16 KiB is the shared memory of a batch, which the worker cannot send then.
        "a process that loads pictures was ended (": started(
            f"train.py {flags} --batch_size 32 --img_size 32 --output_dir ''", shell="ulimit -f 16"
        ),
    }
    for told, run in runs.items():
        assert told in fails_soon(run, "train.py")


def test_a_disk_that_is_full_ends_the_training_and_keeps_the_last_checkpoint(started, scripts, flags, tmp_path):
    assert scripts("train", flags, "--num_workers 0 --epochs 1")[0] == 0
    before = (tmp_path / "out" / NAME).read_bytes()
    # Files may not grow beyond 512 KiB, half of a checkpoint.
    line = fails_soon(started(f"train.py {flags} --epochs 2 --resume auto", shell="ulimit -f 512"), "train.py")
    assert "cannot be written (" in line and "nothing saved before is lost" in line
    assert (tmp_path / "out" / NAME).read_bytes() == before


def test_a_worker_that_is_killed_ends_the_training_though_another_one_is_stuck(training, tmp_path):
    workers = training.workers()
    assert len(workers) == 2 * usable_workers(2)  # for training and for validation
    os.kill(workers[-1], signal.SIGSTOP)
    os.kill(workers[0], signal.SIGKILL)
    line = fails_soon(training, "train.py")
    assert "a process that loads pictures was ended (" in line and "--num_workers" in line


def test_a_signal_to_all_processes_saves_and_what_goes_on_ends_at_once_when_done(training, started, tmp_path):
    os.killpg(training.process.pid, signal.SIGTERM)
    ended = ends_soon(training, "SIGTERM: ", training.out)
    assert ended.code == 75 and not errors_of(training), training.printed()
    again = ended.out.partition("continue with: python ")[2].strip()
    done = checkpoint.load(tmp_path / "out" / NAME)["epoch"] + 1
    run = started(f"{again} --epochs {done + 1}")
    ended = ends_soon(run, "saved: ", run.out)
    assert ended.code == 0 and not errors_of(run), run.printed()
    assert "continuing from" in ended.out and f"epoch {done + 1}/{done + 1}" in ended.out


def test_ctrl_c_ends_the_training_with_a_line(training):
    for _ in range(3):  # impatient: once more while the run ends
        if training.process.poll() is None:
            os.killpg(training.process.pid, signal.SIGINT)
        time.sleep(0.05)
    ended = ends_soon(training, "train.py: interrupted", training.err)
    assert ended.code == 130 and errors_of(training) == ["train.py: interrupted"], training.printed()


def test_a_picture_that_cannot_be_decoded_ends_an_evaluation(started, scripts, pictures, flags, tmp_path):
    for kind in ("true", "false"):
        assert scripts("train", flags, f"--use_slot {kind} --epochs 1 --num_workers 0")[0] == 0
    spoil(pictures / "val" / "blue" / "9.png")
    data = f"--dataset_dir {pictures} --device cpu --batch_size 4 --num_workers 2"
    scores = "--methods CAM --explain_metrics true --metric_steps 2 --infidelity_samples 2 --sensitivity_samples 0"
    plain = tmp_path / "out" / "Folder_no_slot_checkpoint.pth"
    runs = {
        "test.py": started(f"test.py --checkpoint {tmp_path / 'out' / NAME} {data}"),
        "torchcam_vis.py": started(f"torchcam_vis.py --checkpoint {plain} {data} {scores}"),
    }
    for script, run in runs.items():
        assert "blue/9.png cannot be read: " in fails_soon(run, script)


def test_a_picture_that_cannot_be_decoded_ends_all_processes_of_a_launch(started, pictures, flags):
    spoil(pictures / "train" / "red" / "7.png")
    run = started(f"{TORCHRUN} train.py {flags} --epochs 2")
    ended = ends_soon(run, "train.py: error: ", run.err)
    assert ended.code != 0 and "red/7.png cannot be read: " in ended.line
    told = errors_of(run)
    # torchrun tells at length how its processes ended, after the line
    own = told[: next((i for i, line in enumerate(told) if "torch/distributed/elastic" in line), None)]
    assert own == [ended.line] and "\n".join(told).count("train.py: error: ") == 1, run.printed()

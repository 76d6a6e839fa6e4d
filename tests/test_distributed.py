"""Several processes on this machine, started as the documentation says; metrics do not depend on their number."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from dataset import Listing
from dataset.pictures import PictureDataset
from engine import opening
from engine.explain.table import read_metrics
from tools import ToolError, checkpoint

ROOT = Path(__file__).parents[1]
NAME = "MNIST5k_use_slot_checkpoint.pth"

LAUNCHERS = {
    "launch": "python -m torch.distributed.launch --nproc_per_node=2 --use_env train.py --world_size 2",
    "torchrun": "python -m torch.distributed.run --nproc_per_node=2 train.py",
}


TWO_EPOCHS = "--batch_size 32 --epochs 2"


@pytest.fixture(scope="module")
def two_processes(as_user, tiny_module, tmp_path_factory):
    """The finished launch of two undisturbed processes by torchrun, and the folder that they wrote."""
    folder = tmp_path_factory.mktemp("two")
    done = as_user(f"{LAUNCHERS['torchrun']} {tiny_module} {TWO_EPOCHS} --output_dir {folder}")
    assert done.returncode == 0, done.stderr
    return done, folder


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_train_one_run(as_user, tiny, tmp_path, records, launcher, two_processes):
    if launcher == "torchrun":
        done = two_processes[0]
        shutil.copytree(two_processes[1], tmp_path, dirs_exist_ok=True)
    else:
        done = as_user(f"{LAUNCHERS[launcher]} {tiny} {TWO_EPOCHS} --output_dir {tmp_path}")
    assert done.returncode == 0, done.stderr
    # one process prints and writes
    assert done.stdout.count("epoch 2/2") == 1 and "2 processes" in done.stdout
    assert "global batch 32 x 2 = 64 pictures; --lr stays 0.002, scaled linearly it would be 0.004" in done.stderr
    assert [record["epoch"] for record in records(tmp_path)] == [0, 1]
    # one process that tests the checkpoint finds the metrics of both
    path = tmp_path / "MNIST5k_use_slot_checkpoint.pth"
    assert as_user(f"python test.py --checkpoint {path} --device cpu --num_workers 0").returncode == 0
    alone, last = json.loads((tmp_path / "results.json").read_text()), records(tmp_path)[-1]
    for key in ("top1", "loss", "attn_mean", "area"):
        assert alone[key] == pytest.approx(last[f"val_{key}"], rel=1e-4)
    assert checkpoint.load(path)["epoch"] == 1


def test_an_evaluation_counts_each_sample_once_over_three_processes(as_user, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "copy")
    command = f"--checkpoint {folder}/MNIST5k_use_slot_checkpoint.pth --device cpu --num_workers 0"
    results = []
    for launch in ("python test.py", "python -m torch.distributed.run --nproc_per_node=3 test.py"):
        done = as_user(f"{launch} {command}")
        assert done.returncode == 0, done.stderr
        results.append(json.loads((folder / "results.json").read_text()))
    assert results[0]["images"] == results[1]["images"] == 200
    for key in ("top1", "top5", "loss", "attn_mean", "area"):
        assert results[0][key] == pytest.approx(results[1][key], rel=1e-6)


def test_the_area_term_is_that_of_the_global_batch(as_user, tmp_path):
    program = tmp_path / "loss.py"
    program.write_text(
        "import torch, torch.distributed as dist\n"
        "from sloter.loss import ScouterLoss\n"
        "from sloter.slot_model import SlotOutput\n"
        "dist.init_process_group('gloo')\n"
        "attn = torch.full((2, 3, 1, 2, 2), 0.2 if dist.get_rank() else 0.6, requires_grad=True)\n"
        "losses = ScouterLoss(lambda_value=1, power=2)(SlotOutput(torch.zeros(2, 3), attn), torch.tensor([0, 1]))\n"
        "losses['loss'].backward()\n"
        "area, gradient = losses['area_loss'].item(), attn.grad.sum().item()\n"
        "print(f'[{area:.4f} {gradient:.4f}]', flush=True)\n"
        "dist.destroy_process_group()\n"
    )
    done = as_user(f"python -m torch.distributed.run --nproc_per_node=2 {program}", PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    # the mean attention is .4, so the area is .16 and its derivative by the local mean 2 * .4 on both
    assert done.stdout.count("[0.1600 0.8000]") == 2


@pytest.mark.parametrize(
    ("flags", "line"),
    [("--num_classes 11", "train.py: error: --num_classes 11"), ("--lr x", "train.py: error: argument --lr")],
)
def test_an_error_of_all_processes_ends_the_launch_and_is_shown_once(as_user, tiny, flags, line):
    done = as_user(f"python -m torch.distributed.run --nproc_per_node=2 train.py {tiny} {flags}", timeout=100)
    assert done.returncode != 0 and done.stderr.count(line) == 1
    assert 'File "/' not in done.stderr.partition("train.py: error")[0]


def start(command: str, out: Path, **environment: str) -> subprocess.Popen:
    """Start a command line as a user does, with its output in a file."""
    words = [sys.executable if word == "python" else word for word in command.split()]
    return subprocess.Popen(
        words, cwd=ROOT, stdout=out.open("w"), stderr=subprocess.STDOUT, env={**os.environ, **environment}
    )


def wait_for(condition, *, seconds: float = 120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_any_number_of_processes_computes_the_same(tmp_path):
    program = "tests/global_batch.py"
    started = [start(f"python {program} {tmp_path}/1.pt", tmp_path / "1.txt", PYTHONPATH=".", OMP_NUM_THREADS="1")]
    for count in (2, 4):
        launch = f"python -m torch.distributed.run --nproc_per_node={count} {program} {tmp_path}/{count}.pt"
        started.append(start(launch, tmp_path / f"{count}.txt", PYTHONPATH=".", OMP_NUM_THREADS="1"))
    for process in started:
        assert process.wait(timeout=200) == 0, [file.read_text() for file in tmp_path.glob("*.txt")]
    one, *others = (torch.load(tmp_path / f"{count}.pt", weights_only=True) for count in (1, 2, 4))
    assert one["evaluation"]["images"] == len(one["scores"]) == 11
    assert one["gradients"]["slot.initial_slots"].abs().max() > 1e-5
    for other in others:
        assert other["pictures"] == one["pictures"]
        assert other["losses"] == pytest.approx(one["losses"], rel=1e-5)
        for name, gradient in one["gradients"].items():
            torch.testing.assert_close(other["gradients"][name], gradient, rtol=1e-3, atol=1e-6, msg=name)
        for metrics in ("evaluation", "few"):
            assert other[metrics] == pytest.approx(one[metrics], rel=1e-5)
        for a, b in zip(other["scores"], one["scores"], strict=True):
            assert a == pytest.approx(b, rel=1e-3, abs=1e-6)


def test_explanation_metrics_do_not_depend_on_the_number_of_processes(scripts, as_user, tiny_run, tmp_path):
    flags = ("--device cpu --num_workers 0 --explain_metrics true --metric_images 5 --metric_steps 5 "
             "--infidelity_samples 5 --sensitivity_samples 2")  # fmt: skip
    rows = []
    for name in ("one", "two"):
        folder = shutil.copytree(tiny_run, tmp_path / name)
        if name == "one":
            assert scripts("test", f"--checkpoint {folder / NAME} {flags}")[0] == 0
        else:
            launch = "python -m torch.distributed.run --nproc_per_node=2 test.py"
            done = as_user(f"{launch} --checkpoint {folder / NAME} {flags}")
            assert done.returncode == 0, done.stderr
        [row] = read_metrics(folder)
        rows.append({key: row[key] for key in ("images", "area", "iauc", "dauc", "infidelity", "sensitivity")})
        assert len(list(csv.reader((folder / "metrics.csv").open()))) == 2  # names and one row
    assert rows[0]["images"] == 5 and rows[1] == pytest.approx(rows[0], rel=1e-3, abs=1e-6)


def test_tasks_of_slurm_are_one_run_and_end_when_one_is_killed(tiny, tmp_path, records):
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2",
            "SLURM_JOB_NODELIST": "localhost", "SLURM_STEP_TASKS_PER_NODE": "2"}  # fmt: skip
    command = f"python train.py {tiny} --batch_size 8 --epochs 99 --output_dir {tmp_path}/run"
    files = [tmp_path / "0.txt", tmp_path / "1.txt"]
    tasks = [start(command, files[i], **step, SLURM_PROCID=str(i), SLURM_LOCALID=str(i)) for i in range(2)]
    try:
        wait_for((tmp_path / "run" / "log.jsonl").is_file)
        tasks[1].kill()
        assert tasks[0].wait(timeout=60) == 1
    finally:
        for task in tasks:
            task.kill()
    first, second = (file.read_text() for file in files)
    assert first.count("2 processes") == 1 and not second
    assert first.count("error: rank 1 of 2 (") == 1 and "Traceback" not in first and "frame #" not in first
    # what was saved before is whole
    assert checkpoint.load(tmp_path / "run" / NAME)["epoch"] == records(tmp_path / "run")[-1]["epoch"]


def pid_of(launch: subprocess.Popen, rank: int) -> int | None:
    """Process id of a rank among the children of torchrun; None if it has not started yet."""
    for pid in Path(f"/proc/{launch.pid}/task/{launch.pid}/children").read_text().split():
        if f"RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text().partition("LOCAL_RANK")[0] + "\0":
            return int(pid)
    return None


def test_torchrun_restarts_a_run_whose_process_was_killed(tiny, tmp_path, records, two_processes):
    command = f"{LAUNCHERS['torchrun'].replace('run --', 'run --max-restarts=1 --', 1)} {tiny} {TWO_EPOCHS}"
    launch = start(f"{command} --output_dir {tmp_path}/run", tmp_path / "out.txt")
    try:
        # Rank 0 still draws the curves of the first epoch, so rank 1 is in the second epoch at most.
        wait_for((tmp_path / "run" / "log.jsonl").is_file)
        os.kill(wait_for(lambda: pid_of(launch, 1)), signal.SIGKILL)
        assert launch.wait(timeout=200) == 0, (tmp_path / "out.txt").read_text()
    finally:
        launch.kill()
    out = (tmp_path / "out.txt").read_text()
    assert "restart 1: continuing from" in out and "continuing from epoch 1" in out
    assert [record["epoch"] for record in records(tmp_path / "run")] == [0, 1]
    whole, restarted = (checkpoint.load(folder / NAME) for folder in (two_processes[1], tmp_path / "run"))
    for key, value in whole["model"].items():
        torch.testing.assert_close(restarted["model"][key], value, msg=key)


def test_a_restart_does_not_continue_an_earlier_launch(scripts, tiny, tmp_path, tiny_run, monkeypatch, records):
    agent = TCPStore("localhost", 0, is_master=True)  # as torchrun has one, which outlives all attempts
    launch = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "MASTER_ADDR": "localhost",
              "MASTER_PORT": agent.port, "TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RUN_ID": "x"}  # fmt: skip
    for name, value in launch.items():
        monkeypatch.setenv(name, str(value))
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    outcomes = []
    for attempt, flags in enumerate(("--epochs 1 --lr 1e30", "--epochs 1", "--epochs 2")):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
        code, out, _ = scripts("train", tiny, f"{flags} --img_size 16 --batch_size 200 --output_dir {folder}")
        outcomes.append((code, "restart" in out, "no epoch was saved before" in out, "continuing from epoch 1" in out))
    assert outcomes == [(2, False, False, False), (0, True, True, False), (0, True, False, True)]
    assert [record["epoch"] for record in records(folder)] == [0, 1]


@pytest.mark.parametrize("other", [["cat", "dog", "dog"], ["cat", "cat", "dog"]])
def test_processes_with_other_pictures_are_refused(tmp_path, picture_writer, monkeypatch, other):
    def dataset(folder, classes):
        files = [tmp_path / folder / f"{number}.png" for number in range(len(classes))]
        for file in files:
            picture_writer(file)
        labels = [["cat", "dog"].index(name) for name in classes]
        listing = Listing(files, labels, ["cat", "dog"])
        return PictureDataset(listing, img_size=(8, 8), in_chans=3, num_classes=2)

    seen = []
    monkeypatch.setattr(opening.distributed, "active", lambda: True)
    monkeypatch.setattr(opening.distributed, "gather", lambda items: [*seen, *items])
    for folder, classes in (("a", ["cat", "dog"]), ("b", ["cat", "dog"])):  # copies on two machines
        opening.check_same_pictures(dataset(folder, classes), dataset(folder, classes))
    gathered = []
    monkeypatch.setattr(opening.distributed, "gather", lambda items: gathered.extend(items) or items)
    opening.check_same_pictures(dataset("a", ["cat", "dog", "cat"]), dataset("a", ["cat"]))
    seen += gathered
    monkeypatch.setattr(opening.distributed, "gather", lambda items: [*seen, *items])
    with pytest.raises(ToolError, match=r"see different pictures \(3 and 1, 3 and 1 for training and validation\)"):
        opening.check_same_pictures(dataset("a", other), dataset("a", ["cat"]))


def test_the_fingerprint_of_all_pictures_does_not_depend_on_their_split():
    def dataset(names, labels):
        listing = Listing([Path(name) for name in names], labels, ["cat", "dog"])
        return PictureDataset(listing, img_size=(8, 8), in_chans=3, num_classes=2)

    one = opening.fingerprint_of_all(dataset("abc", [0, 1, 1]), dataset("d", [0]))
    assert one == opening.fingerprint_of_all(dataset("db", [0, 1]), dataset("ca", [1, 0])) and len(one) == 12
    assert one != opening.fingerprint_of_all(dataset("abc", [0, 1, 1]), dataset("d", [1]))
    assert one != opening.fingerprint_of_all(dataset("abc", [0, 1, 1]), dataset("e", [0]))

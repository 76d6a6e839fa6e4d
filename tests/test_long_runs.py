"""Runs that are interrupted and continued, and training options that change speed or memory."""

import itertools
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from engine.evaluate import evaluate
from tools import checkpoint
from tools.distributed.preemption import StopRequest
from tools.figures.curves import save_curves

ROOT = Path(__file__).parents[1]
NAME = "MNIST5k_use_slot_checkpoint.pth"


def stop_at(monkeypatch, call):
    """Let a signal arrive before this call of the request to stop."""
    calls = itertools.count(1)

    def ask(self):
        self.signal = "SIGTERM"
        return next(calls) == call

    monkeypatch.setattr(StopRequest, "__call__", ask)


def assert_same(a, b):
    one, two = (checkpoint.load(folder / NAME) for folder in (a, b))
    assert one["epoch"] == two["epoch"] and one["scaler"] == two["scaler"]
    for weights in ("model", "raw_model"):
        assert one.get(weights, {}).keys() == two.get(weights, {}).keys()
        assert all(torch.equal(value, two[weights][key]) for key, value in one.get(weights, {}).items())
    for x, y in zip(one["optimizer"]["state"].values(), two["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(x[key], y[key]) for key in x)


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "--aug true --aug_policy mixup,cutmix --num_workers 2 --ema 0.9 --accum_steps 2 --amp fp16 --clip_grad 1 "
        "--sched cosine --warmup_epochs 1",
    ],
)
def test_a_run_interrupted_within_an_epoch_ends_as_the_uninterrupted_one(
    scripts, tiny, tmp_path, monkeypatch, records, extra
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = f"{tiny} {extra} --img_size 16 --epochs 2"
    assert scripts("train", flags, f"--output_dir {whole}")[0] == 0
    steps = 12 // (2 if "accum" in extra else 1)
    # after four steps of the second epoch; one more call comes after the first epoch
    stop_at(monkeypatch, steps + 1 + 4)
    code, out, _ = scripts("train", flags, f"--output_dir {parts}")
    pictures = 4 * 64 * (12 // steps)
    assert (
        code == 75
        and f"SIGTERM: interrupted and saved {pictures} pictures into epoch 2 of 2; continue with: python" in out
    )
    assert checkpoint.load(parts / NAME)["epoch"] == 0
    monkeypatch.undo()
    code, out, _ = scripts("train", flags, f"--output_dir {parts} --resume auto")
    assert code == 0 and f"continuing from {pictures} pictures into epoch 2" in out
    assert_same(whole, parts)
    keys = ("epoch", "loss", "ce", "top1", "lr", "val_loss", "val_top1")
    both = [[[record[key] for key in keys] for record in records(folder)] for folder in (whole, parts)]
    assert both[0][0] == both[1][0] and both[0][1] == pytest.approx(both[1][1], rel=1e-12)


def test_a_run_interrupted_in_its_first_epoch_is_tested_and_continued(scripts, tiny, tmp_path, monkeypatch, records):
    stop_at(monkeypatch, 3)
    flags = f"{tiny} --img_size 16 --epochs 1 --output_dir {tmp_path}"
    assert scripts("train", flags)[0] == 75
    monkeypatch.undo()
    assert scripts("test", f"--checkpoint {tmp_path / NAME} --num_workers 0")[0] == 0
    # 192 of 800 pictures are done, and another batch size does not repeat them
    code, _, _ = scripts("train", flags, "--resume auto --batch_size 152")
    assert code == 0 and [record["epoch"] for record in records(tmp_path)] == [0]


def test_epochs_after_one_that_was_continued_with_other_batches_have_their_own_rates(
    scripts, tiny, tmp_path, monkeypatch, records
):
    stop_at(monkeypatch, 3)
    flags = f"{tiny} --img_size 16 --epochs 2 --sched cosine --lr 0.002 --output_dir {tmp_path}"
    assert scripts("train", flags)[0] == 75
    monkeypatch.undo()
    assert scripts("train", flags, "--resume auto --batch_size 400")[0] == 0
    # of the last of two steps, at epoch 1.5 of 2; the 608 pictures that were left of the first had one step of two
    assert records(tmp_path)[-1]["lr"] == pytest.approx(0.002 * (1 + math.cos(math.pi * 1.5 / 2)) / 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_process_group_saves_and_asks_to_resume(tiny, scripts, tmp_path, number):
    command = [sys.executable, "train.py", *tiny.split(), "--num_workers", "2", "--epochs", "400"]
    process = subprocess.Popen(
        [*command, "--output_dir", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("epoch 2/400"):
            break
    os.killpg(process.pid, number)  # the workers of the loaders receive it, too
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and "Traceback" not in err, err
    assert f"{number.name}: " in out
    again = out.partition("continue with: python train.py ")[2]
    done = checkpoint.load(tmp_path / NAME)["epoch"] + 1
    code, out, _ = scripts("train", again, f"--num_workers 0 --epochs {done + 1}")
    assert code == 0 and "continuing from" in out


def test_processes_of_a_launch_stop_together_and_continue(tiny, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "train.py", *tiny.split()]
    command = [*launch, "--output_dir", str(tmp_path), "--resume", "auto", "--epochs"]
    pipes = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, "400"], **pipes)
    for line in process.stdout:
        if line.startswith("epoch 2/400"):
            break
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert "SIGTERM: interrupted and saved" in out or "SIGTERM: epoch" in out, err
    done = checkpoint.load(tmp_path / NAME)["epoch"] + 1
    again = subprocess.run([*command, str(done + 1)], timeout=100, check=True, **pipes)
    assert "continuing from" in again.stdout and f"epoch {done + 1}/{done + 1}: " in again.stdout


def test_an_interrupted_sweep_continues(scripts, tiny, tmp_path, monkeypatch):
    stop_at(monkeypatch, 3)
    flags = f"{tiny} --img_size 16 --epochs 1 --lambda_value 1,2 --output_dir {tmp_path}"
    assert scripts("train", flags)[0] == 75
    monkeypatch.undo()
    code, out, _ = scripts("train", flags)
    assert code == 0 and "continuing from 192 pictures into epoch 1" in out and (tmp_path / "sweep.csv").is_file()


def test_a_signal_in_the_evaluation_of_the_last_epoch_is_not_lost(scripts, tiny, tmp_path, monkeypatch):
    def interrupted(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*args, **options)

    monkeypatch.setattr("engine.evaluate.evaluate", interrupted)
    flags = f"{tiny} --img_size 16 --epochs 1"
    # The work of a single run is done; the next run of a sweep must not start.
    code, out, _ = scripts("train", flags, f"--output_dir {tmp_path / 'single'}")
    assert code == 0 and "saved: " in out
    sweep = f"--iterated_evaluation_num 2 --output_dir {tmp_path / 'sweep'}"
    code, out, _ = scripts("train", flags, sweep)
    assert code == 75 and "SIGTERM: stopped after run 1 of 2; continue with: python train.py" in out
    assert (tmp_path / "sweep" / "run0" / "done.json").is_file() and not (tmp_path / "sweep" / "run1").exists()
    monkeypatch.undo()
    code, out, _ = scripts("train", flags, sweep)
    assert code == 0 and "(complete)" in out and (tmp_path / "sweep" / "sweep.csv").is_file()


def test_ctrl_c_while_an_epoch_is_saved_keeps_it(scripts, tiny, tmp_path, monkeypatch):
    def interrupted(path, records):
        os.kill(os.getpid(), signal.SIGINT)
        return save_curves(path, records)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
    monkeypatch.setattr("engine.run_files.save_curves", interrupted)
    code, out, err = scripts("train", f"{tiny} --img_size 16 --epochs 2 --output_dir {tmp_path}")
    signal.signal(signal.SIGINT, before)
    assert code == 130 and err.endswith("train.py: interrupted\n")
    assert "epoch 1 of 2 is saved; continue with: python train.py" in out and (tmp_path / "curves.png").is_file()


def losses(scripts, records, folder, *flags):
    assert scripts("train", *flags, f"--output_dir {folder}")[0] == 0
    return [record["ce"] for record in records(folder)]


def test_grad_checkpointing_changes_no_result(scripts, tiny, tmp_path, records):
    flags = (tiny, "--epochs 2 --img_size 16")
    plain = losses(scripts, records, tmp_path / "plain", *flags)
    assert losses(scripts, records, tmp_path / "again", *flags, "--grad_checkpointing true") == pytest.approx(plain)


def test_bfloat16_learns_nearly_the_same(scripts, tiny, tmp_path, records):
    flags = (tiny, "--epochs 2 --img_size 16")
    plain = losses(scripts, records, tmp_path / "plain", *flags)
    bf16 = losses(scripts, records, tmp_path / "bf16", *flags, "--amp bf16")
    assert bf16 != plain and bf16 == pytest.approx(plain, rel=0.1)


def test_the_saved_model_is_the_ema(scripts, tiny, tmp_path):
    assert scripts("train", tiny, f"--epochs 1 --img_size 16 --ema 0.999 --output_dir {tmp_path}")[0] == 0
    state = checkpoint.load(tmp_path / NAME)
    key = "conv1x1.weight"
    assert not torch.equal(state["model"][key], state["raw_model"][key])
    code, out, _ = scripts("test", f"--checkpoint {tmp_path / NAME} --num_workers 0")
    assert code == 0 and f"top-1 {state['metrics']['val_top1']:.2%}" in out


@pytest.mark.parametrize("extra", ["", "--ema 0.5"])
def test_compiled_training_learns_the_same_from_two_graphs(scripts, tiny, tmp_path, monkeypatch, records, extra):
    """Compiled by the backend ``eager``, which traces the model like every backend, and then runs it as it is."""
    flags = (tiny, "--epochs 2 --img_size 16 --num_classes 2 --batch_size 150", extra)
    plain = losses(scripts, records, tmp_path / "plain", *flags)
    monkeypatch.setattr("tools.machine.compiles", lambda requested, device: requested)  # on a CPU, too
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    counters.clear()
    assert losses(scripts, records, tmp_path / "compiled", *flags, "--compile true") == pytest.approx(plain, rel=1e-5)
    assert counters["stats"]["unique_graphs"] == 2  # 200 pictures for validation: the last batch has 50
    assert scripts("test", f"--checkpoint {tmp_path}/compiled/{NAME} --num_workers 0 --compile true")[0] == 0
    torch._dynamo.reset()


def test_a_cpu_goes_on_without_compilation(scripts, tiny, tmp_path):
    flags = f"--epochs 1 --img_size 16 --num_classes 2 --batch_size 200 --compile true --output_dir {tmp_path}"
    code, _, err = scripts("train", tiny, flags)
    assert code == 0 and err.count("--compile true: not used on a CPU") == 1


def test_tensorboard_shows_metrics_and_maps_of_each_epoch(scripts, tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    flags = f"{tiny} --img_size 16 --tensorboard true --output_dir {tmp_path}"
    assert scripts("train", flags, "--epochs 1")[0] == 0
    assert scripts("train", flags, "--epochs 2 --resume auto")[0] == 0
    events = EventAccumulator(str(tmp_path / "tensorboard" / "MNIST5k_use_slot")).Reload()
    assert {"loss/training", "loss/validation", "top1/validation", "attn_mean/training"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("loss/training")] == [0, 1]
    maps = events.Images("evidence")
    assert [event.step for event in maps] == [0, 1] and maps[0].encoded_image_string != maps[1].encoded_image_string


def test_tensorboard_without_its_package_is_one_line(fails, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "--tensorboard true needs a package that is not installed" in fails("train", tiny, "--tensorboard true")


def test_a_family_without_checkpointing_says_so(fails, tiny):
    line = fails("train", tiny, "--model dla34 --out_stage 4 --img_size 64 --grad_checkpointing true --output_dir ''")
    assert "timm" in line


def test_ema_of_one_is_an_error(fails, tiny):
    assert "argument --ema: 1 is not a number below 1" in fails("train", tiny, "--ema 1")

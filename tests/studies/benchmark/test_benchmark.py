"""The benchmark runs and says what it measured."""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
import torch

from args import expand_runs
from dataset import check
from dataset.check import picture_fault
from engine.explain.attribution.cam import pooled_linear
from engine.explain.attribution.registry import MethodSettings, SplitModel, build_explainer
from engine.explain.settings import METRIC_NAMES
from studies.benchmark import augment, compilation, cores, drawing, explain, memory, start
from studies.benchmark.flags import PARTS, parse_args
from studies.benchmark.peers import peers_of
from tools import ToolError
from tools.console import format_table

ROOT = Path(__file__).parents[3]


def test_data_and_explain_run_quickly_and_leave_their_tables(as_user, tmp_path):
    file = tmp_path / "out.json"
    flags = "--dataset MNIST5k --model test_resnet --img_size 64 --batch_size 32 --num_workers 0 --device cpu"
    done = as_user(f"python -m studies.benchmark data explain --quick true --methods CAM,RISE {flags} --json {file}")
    assert done.returncode == 0, done.stderr
    tables = json.loads(file.read_text())
    assert tables["machine"]["device"] == "cpu" and tables["machine"]["torch"]
    rates = {row["data"]: row["pictures/s"] for row in tables["data"]}
    assert len(rates) == 10 and all(rate > 0 for rate in rates.values())
    assert next(row for row in tables["data"] if row["data"] == "published pipeline")["times published"] == 1
    rows = [(row["explain"], row["classes"]) for row in tables["explain"]]
    names = ["plain forward, no map", "slot model, no map", "SCOUTER", "CAM", "RISE"]
    assert rows == [(name, c) for name in names for c in (1, 10, 100)]
    for row in tables["explain"]:
        assert (row["ours / best"] == "") == (row["explain"] != "CAM") == (not row["torchcam, s"])
    assert "published pipeline" in done.stdout and "SCOUTER" in done.stdout


def test_ours_is_compared_with_the_fastest_of_the_others_and_what_was_not_measured_is_marked():
    row = explain.table_row("Occlusion", 10, {"ours": 3.0, "torchcam": 4.0, "captum": 2.0}, {"ours": 10, "captum": 2})
    assert row == {
        "explain": "Occlusion", "classes": 10, "ours, s": "3.0000", "torchcam, s": "4.0000", "grad-cam, s": "",
        "captum, s": "~2.0000", "ours / best": 1.5,
    }  # fmt: skip


@pytest.mark.parametrize(("longest", "seconds"), [(1000, 10 + 100), (50, 10 + 100), (1, 11 * 100)])
def test_a_peer_that_takes_long_explains_fewer_classes(longest, seconds, monkeypatch, plain_task):
    """Its first class takes 11 s, each further one 1 s, by the clock of this test; with one alone, all are as slow."""
    now = [0.0]

    def peer(image, classes):
        now[0] += 10 + len(classes)

    monkeypatch.setattr(explain, "clock_of", lambda device: lambda: now[0])
    monkeypatch.setattr(explain, "peers_of", lambda *args: {"captum": peer})
    monkeypatch.setitem(explain.LONGEST, True, longest * 11)
    (row,) = explain.method_rows(plain_task(100), "Occlusion")
    assert row["captum, s"] == ("~" if longest < 100 else "") + f"{seconds:.4f}"


@pytest.fixture
def plain_task():
    """Task of a tiny classifier."""
    run = expand_runs(
        parse_args(["--quick", "true", "--model", "test_resnet", "--img_size", "64", "--pre_trained", "false"])
    )[0]
    image = torch.randn(1, 3, 64, 64)

    def build(c):
        plain = explain.random_model(run, torch.device("cpu"), c, use_slot=False)
        return explain.Task(run, SplitModel(plain.backbone, image_shape=(3, 64, 64)), [], image, c)

    return build


@pytest.mark.parametrize("name", ["CAM", "GradCAM", "XGradCAM", "LayerCAM", "ScoreCAM", "ISCAM", "DeepLIFT",
                                  "IntegratedGradients", "Occlusion"])  # fmt: skip
def test_the_peers_compute_the_same_maps(name, plain_task):
    """So that the times are of the same work; grad-cam resizes and scales its maps."""
    torch.manual_seed(0)
    task = plain_task(4)
    options = MethodSettings(ig_steps=4, batch_size=8)
    ours = build_explainer(name, task.split, options=options)(task.image, torch.tensor([[0, 3]]))[0]
    classifier = pooled_linear(task.split) if name == "CAM" else None
    peers = peers_of(name, task.split, options, classifier)
    peers.pop("grad-cam", None)
    for peer in peers.values():
        found = [maps[0] if isinstance(maps, list) else maps for maps in peer(task.image, [0, 3])]
        torch.testing.assert_close(torch.cat(found).float(), ours, rtol=1e-3, atol=1e-3 * float(ours.abs().max()))
    assert peers


def test_what_is_drawn_of_a_picture_is_timed_and_summed(monkeypatch):
    monkeypatch.setitem(drawing.ROUNDS, True, 1)
    rows = drawing.measure(
        expand_runs(parse_args(["draw", "--quick", "true", "--img_size", "40x60"]))[0], torch.device("cpu")
    )
    names = ["explanation, 5 classes", "versus_<class>", "image and 20 map files", "all of them"]
    for ending, found in (("png", rows[:5]), ("jpg", rows[5:])):
        assert [row["draw"] for row in found] == [*names, "explanation and map files"]
        assert {row["format"] for row in found} == {ending}
        assert found[3]["CPU s"] == pytest.approx(sum(row["CPU s"] for row in found[:3])) and found[0]["CPU s"] > 0
        assert found[4]["wall s"] > 0


def test_head_and_whole_models_are_compared_with_what_they_should_be(as_user, tmp_path):
    file, trace = tmp_path / "new" / "out.json", tmp_path / "traces" / "trace.json"
    flags = "--model test_resnet --img_size 64 --pre_trained false --device cpu --quick true"
    done = as_user(f"python -m studies.benchmark head train infer scale {flags} --json {file} --trace {trace}")
    assert done.returncode == 0, done.stderr
    tables = json.loads(file.read_text())
    sizes = {row["classes x slots"] for row in tables["head"]}
    assert sizes == {"10x1", "100x1", "100x5", "1000x1"}
    first = [row for row in tables["head"] if row["head"] == "published equations"]
    assert len(first) == 4 and all(row["train, times faster"] == 1 for row in first)
    assert "GB, " in done.stderr and "a slot and picture" in done.stderr
    for part in ("train", "infer"):
        assert [row["classes"] for row in tables[part]][-3:] == [10, 100, 1000]
        assert all(row["slot / linear"] == pytest.approx(row["slot, s"] / row["linear, s"]) for row in tables[part])
    assert tables["scale"][0]["of perfect"] == 1 and tables["scale"][0]["pictures/s"] > 0
    assert json.loads(trace.read_text())["traceEvents"]


def test_augmentation_is_compared_with_a_step(monkeypatch):
    monkeypatch.setattr(augment, "seconds_each", lambda actions, **_: dict(zip(actions, range(2, 8), strict=True)))
    flags = "--quick true --model test_resnet --img_size 64 --batch_size 2 --pre_trained false --device cpu"
    rows = augment.measure(expand_runs(parse_args(flags.split()))[0], torch.device("cpu"))
    assert [row["ms a picture"] for row in rows] == [250, 375, 500, 625, 750, 3500]  # of 4 batches of 2; the step of 2
    assert [row["added, ms"] for row in rows] == [0, 125, 250, 0, 125, 0]
    assert [row["added, of a step"] for row in rows] == ["0.0%", "3.6%", "7.1%", "0.0%", "3.6%", "0.0%"]


def test_the_ways_to_augment_make_the_same_pictures(monkeypatch):
    made = []
    monkeypatch.setattr(augment, "for_all", lambda function, items: made.append([function(item) for item in items]))
    run = expand_runs(parse_args(["--quick", "true", "--img_size", "32", "--batch_size", "8", "--device", "cpu"]))[0]
    for action in augment.ways(run, torch.device("cpu")).values():
        action()
    plain, changed, planned, normalised, augmented = made
    for number, stack in enumerate(changed):
        assert torch.equal(planned[number].images, plain[number].images) and planned[number].plan is not None
        assert (stack.images != plain[number].images).any()
        torch.testing.assert_close(normalised[number], plain[number].images / 127.5 - 1)
        wrong = (augmented[number] - (stack.images / 127.5 - 1)).abs() * 127.5
        assert wrong.max() < 1.01 and (wrong > 0.5).float().mean() < 1e-3  # of rounding


def test_divisions_of_the_cores_are_compared_with_the_chosen_one(monkeypatch):
    monkeypatch.setattr(cores, "cores", lambda: 1)
    flags = "--quick true --model test_resnet --img_size 64 --batch_size 8 --pre_trained false --device cpu"
    rows = cores.measure(expand_runs(parse_args(flags.split()))[0], torch.device("cpu"))
    assert [(row["cores"], row["threads"], row["workers"]) for row in rows] == [(1, 1, 0), (1, 1, 1)]
    assert rows[0]["of --num_workers auto"] == 1
    assert rows[1]["of --num_workers auto"] == pytest.approx(rows[1]["pictures/s"] / rows[0]["pictures/s"])


def test_the_memory_of_a_step_is_that_of_a_process_of_its_own():
    flags = "memory --model test_resnet --img_size 64 --pre_trained false --batch_size 2 --class_counts 3,2000000"
    with pytest.raises(SystemExit):
        parse_args(flags.split())  # more classes than the bound
    run = expand_runs(parse_args(flags.replace("2000000", "100000").split()))[0]
    small, large = (memory.peak_of_process(run, torch.device("cpu"), c, use_slot=True) for c in run.class_counts)
    # The initial slots (100,000 x 64), their gradient and the two moments of the optimizer, of four bytes a number.
    assert large - small > 4 * 100_000 * 64 * 4


def test_the_table_of_the_memory_has_a_row_for_each_number_of_classes(monkeypatch):
    monkeypatch.setattr(memory, "peak_of_process", lambda run, device, c, use_slot: (1 + use_slot) * c * 2**30)
    rows = memory.measure(argparse.Namespace(class_counts=(3, 7)), torch.device("cpu"))
    assert [(row["classes"], row["linear, GB"], row["slot, GB"], row["slot / linear"]) for row in rows] == [
        (3, 3.0, 6.0, 2.0),
        (7, 7.0, 14.0, 2.0),
    ]


def test_a_process_that_the_system_ends_is_one_line(monkeypatch):
    monkeypatch.setattr(memory, "peak_of_steps", ended)
    with pytest.raises(ToolError, match=r"linear classifier with 5 classes was ended by the system.*--class_counts"):
        memory.peak_of_process(argparse.Namespace(), torch.device("cpu"), 5, use_slot=False)


def ended(*arguments):
    """Stands for work whose process is ended, as a full memory does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_second_start_reads_the_record_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setenv("SCOUTER_CACHE", str(tmp_path / "cache"))
    start.write_tree(tmp_path / "data", 1200)
    checked = []
    monkeypatch.setattr(check, "picture_fault", lambda path: checked.append(path))
    for expected in (1200, 0):
        checked.clear()
        seconds = start.checks(tmp_path / "data")
        assert len(checked) == expected
        assert list(seconds) == ["record read", "files checked, classes compared", "splits compared"]
    assert all(picture_fault(file) is None for file in list((tmp_path / "data" / "val").rglob("*.png")))


def test_the_table_of_starts_has_both_and_leaves_the_cache_of_the_user(monkeypatch):
    monkeypatch.setenv("SCOUTER_CACHE", "/nowhere")
    monkeypatch.setitem(start.FILES, True, 60)
    monkeypatch.setattr(start, "lines", lambda words, whole=True: (2.0, 0.25) if words[0] == "-c" else (3.0, 0.5))
    run = expand_runs(parse_args(["--quick", "true"]))[0]
    rows = start.measure(run, torch.device("cpu"))
    assert [row["start"] for row in rows][3::3] == [
        f"record read, 60 files, {name} start" for name in ("first", "second")
    ]
    assert [rows[0]["CPU s"], rows[1]["CPU s"], rows[2]["wall s"]] == [2.0, 3.0, 0.5] and len(rows) == 9
    assert len(format_table(rows).splitlines()) == 10 and os.environ["SCOUTER_CACHE"] == "/nowhere"


def test_the_times_of_a_program_are_those_of_its_first_and_last_line():
    program = "import time; print(sum(range(3_000_000)), flush=True); print(1, flush=True); time.sleep(0.5)"
    used, after = start.lines(["-c", program])
    assert used > 0 and after > 0.4


def test_an_evaluation_is_compared_with_a_bare_loop_and_a_report_is_weighed_and_opened(as_user, tmp_path):
    file = tmp_path / "out.json"
    flags = "--model test_resnet --img_size 64 --num_classes 3 --metric_steps 2 --num_workers 0 --device cpu"
    done = as_user(f"python -m studies.benchmark evaluate report metrics --quick true {flags} --json {file}")
    assert done.returncode == 0, done.stderr
    tables = json.loads(file.read_text())
    milliseconds = {row["evaluate"]: row["CPU ms a picture"] for row in tables["evaluate"]}
    loop = milliseconds["loop: load, forward, argmax"]
    assert len(milliseconds) == 4 and min(milliseconds.values()) > 0
    assert [row["of the loop"] for row in tables["evaluate"]] == [
        pytest.approx(v / loop) for v in milliseconds.values()
    ]
    assert "evaluate: 200 pictures, " in done.stdout
    values = {row["report"]: row["value"] for row in tables["report"]}
    assert 30 * 500 < 1e6 * values["page, MB"] < 30 * 10_000
    assert [row["metrics"] for row in tables["metrics"]] == [*METRIC_NAMES]
    assert min(row["CPU s a picture"] for row in tables["metrics"]) > 0
    if importlib.util.find_spec("playwright") and shutil.which("chromium"):
        assert values["opened: first paint, s"] > 0 and values["opened: files asked for"] == 1


@pytest.mark.parametrize("flags", ["nothing", "--dataset CUB200 data"])
def test_what_cannot_be_measured_is_one_line(as_user, flags):
    done = as_user(f"python -m studies.benchmark {flags}")
    assert done.returncode == 2 and "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


ON_A_CPU = {"draw", "scale", "cores", "start", "evaluate", "report", "metrics"}  # parts that a GPU does not change


@pytest.mark.parametrize("toy", ["true", "false"])
def test_the_script_for_a_gpu_gives_flags_that_exist(tmp_path, toy):
    """Its commands are written down by a stand-in for Python, and read by the parser."""
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@" >> "$COMMANDS"\n')
    (tmp_path / "python").chmod(0o755)
    file, out = tmp_path / "commands", tmp_path / "out"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "COMMANDS": str(file), "TOY": toy, "SCOUTER_DATA": str(tmp_path)}
    subprocess.run(["bash", ROOT / "studies/benchmark/gpu.sh", out], env=env, check=True, stdout=subprocess.DEVNULL)
    commands = [line.split() for line in file.read_text().splitlines()]
    runs = [parse_args(command[2:]) for command in commands]
    assert {part for run in runs for part in run.parts} == {*PARTS} - ON_A_CPU
    assert all((run.device == "cuda") != (toy == "true") for run in runs)
    assert len({run.json for run in runs}) == len(runs) == len([*out.glob("*.txt")])
    assert {run.attention for run in runs if run.trace} == {"paper", "qknorm"}


def test_compiled_steps_are_compared_with_plain_ones(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # which builds no kernels
    flags = "compile --model test_resnet --img_size 64 --pre_trained false --batch_size 2 --quick true"
    rows = compilation.measure(expand_runs(parse_args(flags.split()))[0], torch.device("cpu"))
    torch._dynamo.reset()
    assert [row["compile"] for row in rows] == ["training", "evaluation"]
    for row in rows:
        assert (
            row["times plain"] == row["plain, s"] / row["compiled, s"] and row["first step, s"] > row["compiled, s"] > 0
        )

"""The benchmark runs and says what it measured."""

import json

import pytest


def test_data_and_explain_run_quickly_and_leave_their_tables(as_user, tmp_path):
    file = tmp_path / "out.json"
    flags = "--dataset MNIST5k --model test_resnet --img_size 64 --batch_size 32 --num_workers 0 --device cpu"
    done = as_user(f"python -m tools.benchmark data explain --quick true --methods CAM,RISE {flags} --json {file}")
    assert done.returncode == 0, done.stderr
    tables = json.loads(file.read_text())
    assert tables["machine"]["device"] == "cpu" and tables["machine"]["torch"]
    rates = {row["data"]: row["pictures/s"] for row in tables["data"]}
    assert len(rates) == 6 and all(rate > 0 for rate in rates.values())
    assert next(row for row in tables["data"] if row["data"] == "published pipeline")["times published"] == 1
    methods = {row["explain"]: row for row in tables["explain"]}
    assert list(methods) == ["plain forward, no map", "SCOUTER", "CAM", "RISE"]
    assert "published pipeline" in done.stdout and "SCOUTER" in done.stdout


@pytest.mark.parametrize("flags", ["nothing", "--dataset CUB200 data"])
def test_what_cannot_be_measured_is_one_line(as_user, flags):
    done = as_user(f"python -m tools.benchmark {flags}")
    assert done.returncode == 2 and "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1

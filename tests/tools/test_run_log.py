import json

import pytest

from tools import VERSION
from tools.figures.curves import save_curves
from tools.run_log import RunLog, read_records, save_results


def test_each_record_is_a_line_with_the_name_of_its_run(tmp_path):
    path = tmp_path / "log.jsonl"
    log = RunLog(path, "a", first_epoch=0)
    for epoch in range(3):
        log.add({"epoch": epoch, "loss": epoch / 2})
    RunLog(path, "b", first_epoch=0).add({"epoch": 0, "loss": 9.0})
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["run"], r["epoch"], r["loss"]) for r in records] == [
        ("a", 0, 0),
        ("a", 1, 0.5),
        ("a", 2, 1),
        ("b", 0, 9),
    ]


def test_a_resumed_run_replaces_the_epochs_that_it_trains_again(tmp_path):
    path = tmp_path / "log.jsonl"
    for first, epochs in ((0, (0, 1, 2)), (1, (1,))):
        log = RunLog(path, "a", first_epoch=first)
        for epoch in epochs:
            log.add({"epoch": epoch, "first": first})
    assert [(r["epoch"], r["first"]) for r in read_records(path)] == [(0, 0), (1, 1)]


def test_two_simultaneous_runs_keep_the_records_of_both(tmp_path):
    path = tmp_path / "log.jsonl"
    a, b = (RunLog(path, run, first_epoch=0) for run in "ab")
    for epoch in range(2):
        a.add({"epoch": epoch})
        b.add({"epoch": epoch})
    assert sorted((r["run"], r["epoch"]) for r in read_records(path)) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_a_record_missing_after_a_kill_is_restored_once(tmp_path):
    path = tmp_path / "log.jsonl"
    RunLog(path, "a", first_epoch=0).add({"epoch": 0})
    for _ in range(2):
        RunLog(path, "a", first_epoch=2).restore({"epoch": 1, "loss": 3.0})
    assert [r["epoch"] for r in read_records(path)] == [0, 1]


def test_lines_that_are_not_records_are_skipped(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"run": "a", "epoch": 0}\n{"other": 1}\n{"run": "a", "ep')
    assert len(read_records(tmp_path / "log.jsonl")) == 1 and read_records(tmp_path / "none.jsonl") == []


def test_results_of_other_checkpoints_are_kept(tmp_path):
    path = tmp_path / "results.json"
    save_results(path, {"checkpoint": "a", "top1": 0.1})
    save_results(path, {"checkpoint": "b", "top1": 0.2})
    save_results(path, {"checkpoint": "a", "top1": 0.3})
    content = json.loads(path.read_text())
    version = {"version": VERSION}
    earlier = [{"checkpoint": "b", "top1": 0.2, **version}]
    assert content == {"checkpoint": "a", "top1": 0.3, **version, "earlier": earlier}


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"[" * 100_000, b'{"run": 3, "epoch": 0}', b'{"run": "a", "epoch": -1}',
     b'{"run": "a", "epoch": true}',
     b'{"run": "a", "epoch": 1e9}', b'{"run": "a", "epoch": 1000000000}', b'{"run": "a", "epoch": 1, "loss": "x"}',
     b'{"run": "a", "epoch": 1, "loss": 1e308}', b'{"run": "a", "epoch": 1, "loss": [1]}'],
)  # fmt: skip
def test_a_damaged_line_is_skipped_and_the_others_are_drawn(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"run": "a", "epoch": 0, "loss": NaN}\n' + line + b'\n{"run": "a", "epoch": 2, "loss": 1}\n')
    assert [r["epoch"] for r in read_records(path)] == [0, 2]
    save_curves(tmp_path / "curves.png", read_records(path))


@pytest.mark.parametrize("content", ["[1]", "{", "[" * 100_000, '{"a": 1}'])
def test_a_results_file_or_log_that_is_not_ours_is_kept(tmp_path, content):
    for name in ("results.json", "log.jsonl"):
        (tmp_path / name).write_text(content)
    save_results(tmp_path / "results.json", {"checkpoint": "a"})
    RunLog(tmp_path / "log.jsonl", "a", first_epoch=0).add({"epoch": 0})
    assert json.loads((tmp_path / "results.json").read_text()) == {"checkpoint": "a", "version": VERSION}
    assert len(read_records(tmp_path / "log.jsonl")) == 1
    for name in ("results.kept.json", "log.kept.jsonl"):
        assert (tmp_path / name).read_text() == content

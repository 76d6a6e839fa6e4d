"""The chaos run: its plan, the damage it does and its verdict; the starts themselves are not made here."""

import shutil
import signal
from pathlib import Path
from random import Random

import pytest
import torch

from studies.chaos.__main__ import summary
from studies.chaos.plan import KINDS, plan
from studies.chaos.run import Ended, run
from studies.chaos.scene import DONE, PLAIN, REFUSED, SLOTS, Scene, Start, write_pictures
from studies.chaos.verdict import damaged_files, faults_of, files_of

LINE = "train.py: error: the picture 0.png cannot be read\n"
EVERY = [(kind, name) for kind, damages in KINDS.items() for name in damages]


def ended(code=DONE, *, err="", out="", since_shown=0.5, hung=False):
    return Ended(code, out, err, 5.0, since_shown, hung)


def faults(one, *codes, **options):
    start = Start(script="train", words=[], codes=codes or (DONE,), **options)
    return "; ".join(faults_of(start, one, seconds=10))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A scene with checkpoints of the right form, though not of a model."""
    folder = tmp_path_factory.mktemp("chaos")
    write_pictures(folder / "data")
    (folder / "out").mkdir()
    parts = {name: {"a": 1} for name in ("model_config", "data_config", "train_config")}
    optimizer = {"state": {}, "param_groups": [{"lr": 1}]}
    for name in (SLOTS, PLAIN):
        torch.save({**parts, "model": {"a": torch.ones(2)}, "optimizer": optimizer}, folder / "out" / name)
    return folder


def test_a_seed_repeats_the_plan_and_another_one_changes_it():
    assert plan(100, 3) == plan(100, 3) and plan(100, 3) != plan(100, 4)


def test_every_damage_comes_before_one_comes_again():
    drawn = [(one.kind, one.damage) for one in plan(len(EVERY), 0)]
    assert sorted(drawn) == sorted(EVERY) and [one.number for one in plan(5, 0)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_seed_repeats_the_damage(kind, name, prepared, tmp_path):
    made = []
    for number in range(2):
        folder = tmp_path / str(number)
        shutil.copytree(prepared, folder)
        start = KINDS[kind][name](Scene(folder, Random(5)))
        state = start.signal, start.after, start.delay, start.codes, start.limits, start.environment
        words = [word.replace(str(folder), "") for word in start.words]
        archives = {SLOTS, PLAIN}  # which torch.save writes with different identifiers
        content = {file.relative_to(folder): data for file, data in files_of(folder).items()
                   if file.name not in archives and str(folder).encode() not in data}  # fmt: skip
        made.append((words, state, content))
    assert made[0] == made[1]


def test_what_is_right_has_no_faults():
    note = "train.py: note: 3 pictures are in two classes\n"
    assert faults(ended(err=note)) == ""
    assert faults(ended(REFUSED, err=note + LINE), REFUSED, says="0.png") == ""
    assert faults(ended(75, err="train.py: SIGTERM: ended before it was done\n"), DONE, 75) == ""
    assert faults(ended(-9), signal=signal.SIGKILL) == ""


@pytest.mark.parametrize(
    ("one", "fault"),
    [
        (ended(1, err="Traceback (most recent call last):\n  ...\nKeyError: 'x'\n"), "traceback"),
        (ended(0), "exit code 0, not 2 (refusal)"),
        (ended(-11), "exit code -11, not 2"),
        (ended(2, err=LINE, since_shown=10.5), "it ended 10.5 s after"),
        (ended(2, err=LINE, hung=True), "still alive after 5 s"),
        (ended(2, err=f"UserWarning: odd\n{LINE}"), "2 lines on standard error instead of one"),
        (ended(2, err=""), "no error line of the script"),
        (ended(2, err=LINE.replace("0.png", "7.png")), "does not name '0.png'"),
    ],
)
def test_a_planted_fault_is_found(one, fault):
    assert fault in faults(one, REFUSED, says="0.png")


def test_success_with_a_warning_on_standard_error_is_a_fault():
    assert "success, but standard error has 'UserWarning: odd'" in faults(ended(err="UserWarning: odd\n"))


def test_code_that_was_executed_is_a_fault(tmp_path):
    assert f"{tmp_path} exists" in faults(ended(2, err=LINE), REFUSED, unwanted=tmp_path)


def test_files_that_are_left_lost_partial_or_replaced_are_found(tmp_path):
    for name in ("a.pth", "b.json", "c.txt"):
        (tmp_path / name).write_text("{}")
    before = files_of(tmp_path)
    assert damaged_files(before, tmp_path) == []
    (tmp_path / "a.pth").write_text("new")
    (tmp_path / "b.json").write_text('{"half')
    (tmp_path / "c.txt").unlink()
    (tmp_path / "d.png.0a1b2c3d.part").touch()
    (tmp_path / "e.png").write_bytes(b"\x89PNG")
    found = "; ".join(damaged_files(before, tmp_path, refused=True))
    assert all(text in found for text in ("a.pth was replaced", "b.json is not whole", "c.txt is gone", "e.png is not"))
    assert "d.png.0a1b2c3d.part is left behind" in found
    assert ".part" not in "".join(damaged_files(before, tmp_path, killed=True))


class Shell(Start):
    """A start of a shell in place of a script."""

    def command(self):
        return ["bash", "-c", *self.words]


def test_a_run_ends_with_all_its_processes_and_says_when(tmp_path):
    one = run(Shell(script="", words=["(sleep 0.6; echo late) & echo 'x: error: no' >&2; exit 2"]), limit=20)
    assert (one.code, one.out, one.err, one.hung) == (2, "late\n", "x: error: no\n", False)
    assert 0.5 < one.since_shown <= one.seconds < 10


def test_a_run_that_hangs_is_killed_with_the_processes_it_started(tmp_path):
    one = run(Shell(script="", words=[f"sleep 60 & echo $! > {tmp_path / 'pid'}"]), limit=1)
    assert one.hung and one.seconds < 10
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_limits_and_signals_reach_the_run(tmp_path):
    words = [f"ulimit -n; trap 'echo got; exit 75' TERM; echo ready; for i in {'1 ' * 100}; do sleep 0.1; done"]
    start = Shell(script="", words=words, limits={"NOFILE": 24}, signal=signal.SIGTERM, after="ready", delay=0.1)
    one = run(start, limit=20)
    assert (one.code, one.out) == (75, "24\nready\ngot\n") and one.since_shown < 5


def test_the_summary_counts_and_names_what_fell_short():
    row = {"number": 4, "damage": "disk: full", "code": 2, "seconds": 30.0, "since_shown": 1.25, "faults": []}
    text = summary([row, {**row, "number": 5, "code": 1, "faults": ["traceback"]}])
    assert text.splitlines()[0].startswith("2 starts, 1 fell short; exit codes: 1 with 1, 1 with 2; at most 1.2 s")
    assert text.splitlines()[1:] == ["  5 disk: full: traceback"]

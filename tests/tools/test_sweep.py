import csv
import math

import pytest

from tools import ToolError
from tools.distributed.preemption import Interrupted
from tools.sweep import SweepRun, finished, run_all, run_folder, summarise


def runs(lr=0.1):
    return [
        SweepRun({"power": power}, repeat, {"power": power, "lr": lr, "seed": repeat, "device": None})
        for power in (1.0, 2.0)
        for repeat in (0, 1)
    ]


def train(number, folder):
    return {"epoch": 0, "val_top1": number / 10, "val_loss": 1.0}


def test_folders_are_named_after_swept_flags_and_repeats():
    assert run_folder("out", {"power": 2.0, "num_classes": 5}, 1) == "out/power=2.0_num_classes=5/run1"
    assert run_folder("out", {"power": 2.0}, None) == "out/power=2.0"
    assert run_folder("out", {}, 0) == "out/run0"


def test_mean_and_sample_deviation_against_hand_calculation():
    rows = [{"power": 1, "top1": 0.2}, {"power": 1, "top1": 0.4}, {"power": 2, "top1": 0.5}]
    first, second = summarise(rows, ["power"], ["top1"])
    assert first["top1"] == pytest.approx(0.3) and first["top1_std"] == pytest.approx(math.sqrt(0.02))
    assert second == {"power": 2, "runs": 1, "top1": 0.5, "top1_std": pytest.approx(math.nan, nan_ok=True)}


def test_a_table_summarises_all_runs(tmp_path, capsys):
    run_all(str(tmp_path), runs(), train)
    assert "power  runs  val_top1" in capsys.readouterr().out
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(float(r["power"]), float(r["val_top1"])) for r in rows] == [
        (1, pytest.approx(0.05)),
        (2, pytest.approx(0.25)),
    ]
    with (tmp_path / "sweep_runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


def test_an_interrupted_sweep_continues(tmp_path):
    trained = []

    def dies_at_three(number, folder):
        trained.append(number)
        if number == 2 and trained.count(2) == 1:
            raise KeyboardInterrupt
        return train(number, folder)

    with pytest.raises(KeyboardInterrupt):
        run_all(str(tmp_path), runs(), dies_at_three)
    run_all(str(tmp_path), runs(), dies_at_three)
    assert trained == [0, 1, 2, 2, 3]


def test_a_run_that_fails_does_not_end_the_others(tmp_path, capsys):
    def fails_at_one(number, folder):
        if number == 1:
            raise RuntimeError("the loss is not finite")
        return train(number, folder)

    with pytest.raises(ToolError, match=r"1 of 4 runs failed: power 1.0, seed 1 \(the loss is not finite\)"):
        run_all(str(tmp_path), runs(), fails_at_one, failures=(RuntimeError,))
    with (tmp_path / "sweep_runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
    run_all(str(tmp_path), runs(), train, failures=(RuntimeError,))
    assert "run 2/4: power 1.0, seed 1\n" in capsys.readouterr().out


class Asked:
    """Request to stop that a signal has made during the first run."""

    signal = "SIGTERM"

    def anywhere(self):
        return True


def test_a_signal_that_a_run_outlasts_ends_the_sweep_before_the_next_run(tmp_path, monkeypatch):
    trained = []

    def remember(number, folder):
        trained.append(number)
        if number == 1:
            raise RuntimeError("the loss is not finite")
        return train(number, folder)

    def go_on():
        run_all(str(tmp_path), runs(), remember, failures=(RuntimeError,), stop=Asked())

    monkeypatch.setattr("sys.argv", ["train.py", "--power", "1,2"])
    with pytest.raises(Interrupted, match="SIGTERM: stopped after run 1 of 4; continue with: python train"):
        go_on()
    with pytest.raises(Interrupted, match="after run 2 of 4"):  # a run that fails is no reason to start the next one
        go_on()
    assert trained == [0, 1] and not (tmp_path / "sweep.csv").exists()
    trained.clear()
    monkeypatch.setattr(Asked, "anywhere", lambda self: trained[-1] == 3)
    with pytest.raises(ToolError, match="1 of 4 runs failed"):  # the last run is the end of the sweep: it is complete
        go_on()
    assert trained == [1, 2, 3] and (tmp_path / "sweep.csv").is_file()


def test_the_folder_of_another_sweep_is_refused(tmp_path):
    run_all(str(tmp_path), runs(), train)
    with pytest.raises(ToolError, match=r"\(lr 0.1, now 0.2\): give another --output_dir"):
        run_all(str(tmp_path), runs(lr=0.2), train)


def test_a_run_that_saved_nothing_may_be_tried_with_other_settings(tmp_path):
    def fail(number, folder):
        raise ToolError("no such folder")

    with pytest.raises(ToolError, match="no such folder"):
        run_all(str(tmp_path), runs(lr=0.2), fail)
    run_all(str(tmp_path), runs(lr=0.1), train)
    assert '"lr": 0.1' in (tmp_path / "power=1.0" / "run0" / "settings.json").read_text()
    (tmp_path / "power=1.0" / "run0" / "done.json").rename(tmp_path / "power=1.0" / "run0" / "X_checkpoint.pth")
    with pytest.raises(ToolError, match="holds a run of another sweep"):  # an unfinished run has a checkpoint
        run_all(str(tmp_path), runs(lr=0.3), train)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000, b'{"val_top1": "high"}', b'{"val_loss": 1}'])
def test_a_damaged_record_of_a_run_is_made_again(tmp_path, content, caplog):
    run_all(str(tmp_path), runs(), train)
    done = tmp_path / "power=1.0" / "run1" / "done.json"
    whole = done.read_bytes()
    done.write_bytes(content)
    trained = []
    run_all(str(tmp_path), runs(), lambda number, folder: trained.append(number) or train(number, folder))
    assert trained == [1] and done.read_bytes() == whole
    assert f"{done} is damaged: the run continues from its checkpoint" in caplog.text


def test_a_run_with_damaged_settings_is_refused(tmp_path):
    run_all(str(tmp_path), runs(), train)
    (tmp_path / "power=1.0" / "run0" / "settings.json").write_text('{"power": ')
    with pytest.raises(ToolError, match=r"run0/settings.json is damaged, .*: give another --output_dir, or remove the"):
        run_all(str(tmp_path), runs(), train)


def test_a_sweep_of_an_earlier_version_is_compared_under_the_present_names(tmp_path):
    (tmp_path / "settings.json").write_text('{"worth": "equal", "floor": true, "tau": 4.0}')
    (tmp_path / "done.json").write_text('{"val_top1": 0.5}')
    same = {"value_weighting": "equal", "reference": "min", "logit_scale": 4.0}
    assert finished(str(tmp_path), same) == {"val_top1": 0.5}
    with pytest.raises(ToolError, match="holds a run of another sweep"):
        finished(str(tmp_path), {**same, "reference": "none"})


@pytest.mark.parametrize(("pictures", "warned"), [("aaaa", False), ("aaba", True), ((None, "a", "a", "a"), False)])
def test_runs_of_other_pictures_are_named(tmp_path, caplog, pictures, warned):
    run_all(str(tmp_path), runs(), lambda number, folder: {**train(number, folder), "all_pictures": pictures[number]})
    assert ("the runs are of 2 different sets of pictures" in caplog.text) == warned


def test_numbers_of_classes_have_pictures_of_their_own(caplog):
    some = [SweepRun({"num_classes": c}, None, {"seed": 0}) for c in (2, 3)]
    run_all("", some, lambda number, folder: {**train(number, folder), "all_pictures": str(number)})
    assert not caplog.text

import logging

import pytest

from tools import ToolError, checkpoint, run_folder

CONTENT = {
    "model": {},
    "model_config": {"backbone": "resnet18", "num_classes": 2, "use_slot": True, "in_chans": 1, "img_size": (9, 9)},
    "data_config": {"dataset": "MNIST", "mean": (0.1,), "std": (0.3,)},
    "train_config": {"lambda_value": 1.0, "power": 2.0},
    "epoch": 4,
    "optimizer": {},
    "metrics": {"epoch": 4},
    "best_top1": 0.5,
}


@pytest.fixture
def saved(tmp_path):
    path = checkpoint.checkpoint_path(tmp_path, "run")
    checkpoint.save(path, CONTENT)
    return path


def test_a_run_continues_from_its_folder_or_from_a_file(saved, tmp_path):
    for folder, resume in ((tmp_path, "auto"), (tmp_path / "other", str(saved))):
        assert run_folder.find(str(folder), "run", resume)["epoch"] == 4


@pytest.mark.parametrize("folder", ["", "empty"])
def test_auto_starts_a_new_run_without_a_checkpoint(folder):
    assert run_folder.find(folder, "run", "auto") is None


def test_a_new_run_reports_that_it_replaces_a_checkpoint(saved, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert run_folder.find(str(tmp_path), "run", None) is None
    assert f"{saved} exists and will be replaced; --resume auto continues from it instead" in caplog.text


def test_a_restart_continues_only_from_a_checkpoint_of_its_launch(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_folder.launch, "restarts", lambda: 1)
    for known, epoch, text in ((saved.stat().st_mtime_ns, None, "no epoch was saved"), (1, 4, "continuing from")):
        monkeypatch.setattr(run_folder.distributed, "recall", lambda name, known=known: str(known))
        state = run_folder.find(str(tmp_path), "run", None)
        assert (state and state["epoch"]) == epoch and f"restart 1: {text}" in capsys.readouterr().out


def test_a_checkpoint_without_optimizer_state_cannot_be_continued(tmp_path):
    path = tmp_path / "a.pth"
    checkpoint.save(path, {key: value for key, value in CONTENT.items() if key != "optimizer"})
    with pytest.raises(ToolError, match=r"has no optimizer state .*; evaluate it with test.py --checkpoint"):
        run_folder.find("", "run", str(path))


def test_processes_that_see_different_checkpoints_are_refused(monkeypatch):
    monkeypatch.setattr(run_folder.distributed, "gather", lambda items: [*items, (3, 0)])
    with pytest.raises(ToolError, match=r"would start from different epochs \(0, 3\): all of them must see the same"):
        run_folder.find("", "run", None)


def test_changed_training_flags_are_listed():
    now = dict.fromkeys(run_folder.TRAINING_FLAGS, 1)
    assert run_folder.changes(now, now) == run_folder.changes({}, now) == ""
    assert run_folder.changes({**now, "lr": 2, "ema": None}, now) == " (changed: lr 1, before 2; ema 1, before None)"

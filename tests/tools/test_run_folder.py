import logging

import pytest

from engine.run_files import RunFiles, check_run_files
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
    for other, line in (
        ((3, 0, "a"), r"different epochs \(0, 3\)"),
        ((0, 0, "a"), r"different runs, at epochs \(0, 0\)"),
    ):
        monkeypatch.setattr(run_folder.distributed, "gather", lambda items, other=other: [*items, other])
        with pytest.raises(ToolError, match=f"would start from {line}: all of them must see the same"):
            run_folder.find("", "run", None)


def test_changed_training_flags_are_listed():
    now = dict.fromkeys(run_folder.TRAINING_FLAGS, 1)
    assert run_folder.changes(now, now) == run_folder.changes({}, now) == ""
    assert run_folder.changes({**now, "lr": 2, "ema": None}, now) == " (changed: lr 1, before 2; ema 1, before None)"


def test_the_best_checkpoint_of_another_run_or_of_epochs_trained_again_is_replaced(tmp_path):
    best = checkpoint.checkpoint_path(tmp_path, "run", "_best")
    state = CONTENT | {"run_id": "a"}
    assert run_folder.best_in(str(tmp_path), "run", state) == -1  # there is none
    for changes, expected in (
        ({}, 0.5), ({"run_id": "b"}, -1), ({"epoch": 5}, -1), ({"epoch": 3}, 0.5), ({"best_top1": 0.4}, -1),
    ):  # fmt: skip
        checkpoint.save(best, state | changes)
        assert run_folder.best_in(str(tmp_path), "run", state) == expected, changes


def test_a_run_that_is_continued_elsewhere_keeps_its_metric_but_not_its_best_epoch(saved, tmp_path):
    checkpoint.save(saved, CONTENT | {"best": {"metric": "auroc", "value": 0.9, "epoch": 1}})
    state = run_folder.find(str(tmp_path / "other"), "run", str(saved))
    assert state["best"] == {"metric": "auroc", "value": None, "epoch": 4} and state["best_top1"] == -1


def test_a_checkpoint_without_identity_is_known_by_its_seed():
    one, two = ({"train_config": {"seed": seed}} for seed in (1, 2))
    assert run_folder.same_run(one, one) and not run_folder.same_run(one, two)
    assert not run_folder.same_run(one, one | {"run_id": "a"})


def test_a_tested_checkpoint_of_another_run_than_the_last_one_is_noted(saved, tmp_path, caplog):
    best = checkpoint.checkpoint_path(tmp_path, "run", "_best")
    for seed, noted in ((1, True), (0, False)):
        caplog.clear()
        checkpoint.save(saved, CONTENT | {"train_config": CONTENT["train_config"] | {"seed": 0}})
        checkpoint.save(best, CONTENT | {"train_config": CONTENT["train_config"] | {"seed": seed}})
        assert run_folder.load_tested(best)["epoch"] == 4
        assert ("is of another run (seed 1) than run_checkpoint.pth beside it (seed 0)" in caplog.text) == noted


def test_a_run_stopped_in_its_first_epoch_renames_the_best_checkpoint_of_another(saved, tmp_path):
    best = checkpoint.checkpoint_path(tmp_path, "run", "_best")
    checkpoint.save(best, CONTENT | {"run_id": "old"})
    files = RunFiles(str(tmp_path), "run", first_epoch=0, record={}, tensorboard=False)
    for _ in range(2):
        files.add_stopped(CONTENT | {"run_id": "new", "epoch": -1})
    assert not best.exists()
    assert checkpoint.load(checkpoint.checkpoint_path(tmp_path, "run", "_best_earlier"))["run_id"] == "old"


def test_files_of_a_run_that_cannot_be_written_are_found_before_it(tmp_path):
    check_run_files(str(tmp_path), "run")
    for name in ("run_checkpoint0009.pth", "curves.png"):
        (tmp_path / name).mkdir()
        with pytest.raises(ToolError, match=f"{name} is a folder"):
            check_run_files(str(tmp_path), "run")
        (tmp_path / name).rmdir()

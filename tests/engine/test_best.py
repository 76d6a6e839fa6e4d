"""The best epoch by a metric, the end of a run without a better one, and both after an interruption."""

import logging
import math
from types import SimpleNamespace

import pytest
import torch

from args import best_config
from engine.best import METRICS, Best, class_means
from engine.training_flags import BEST_METRICS
from tools import ToolError, checkpoint

VALUES = {
    "top1": ([0.5, 0.7, 0.7, 0.6, 0.8], [True, True, False, False, True]),
    "auroc": ([math.nan, 0.7, 0.9, 0.6], [False, True, True, False]),
    "loss": ([0.5, 0.7, 0.4, 0.4], [True, False, True, False]),
}


@pytest.mark.parametrize("metric", VALUES)
def test_an_epoch_is_best_if_it_is_better_than_all_before(metric):
    best, (values, expected) = Best(metric), VALUES[metric]
    assert [best.add({f"val_{metric}": value, "epoch": epoch}) for epoch, value in enumerate(values)] == expected
    assert best.epoch == max(epoch for epoch, is_best in enumerate(expected) if is_best)


def test_a_run_ends_after_as_many_epochs_without_a_better_one_also_when_it_is_continued():
    best, epoch = Best("loss", patience=2), 0
    for epoch, value in enumerate([3.0, 1.0, 2.0, 2.0, 0.5]):
        if best.exhausted(epoch):
            break
        best.add({"val_loss": value, "epoch": epoch})
    assert epoch == 4 and best.epoch == 1
    again = Best("loss", patience=2)
    again.load_state_dict({"best": best.state_dict(), "epoch": 3, "best_top1": 0.2})
    assert again.exhausted(4) and not Best("loss").exhausted(100)
    again.patience = 3
    assert not again.exhausted(4) and not again.add({"val_loss": 1.5, "epoch": 4})
    assert str(again) == "best epoch 2, val_loss 1.0000"


def test_a_checkpoint_of_an_earlier_version_or_of_another_metric(caplog):
    best = Best()
    best.load_state_dict({"best_top1": 0.6, "epoch": 3})
    assert not best.add({"val_top1": 0.6, "epoch": 4}) and best.add({"val_top1": 0.7, "epoch": 5})
    other = Best("loss", patience=2)
    with caplog.at_level(logging.WARNING):
        other.load_state_dict({"best": best.state_dict(), "best_top1": 0.7, "epoch": 5})
    assert "--checkpoint_metric loss, before top1" in caplog.text
    assert not other.exhausted(6) and other.add({"val_loss": 9.0, "epoch": 6})


def test_the_metrics_are_those_of_the_flag():
    assert tuple(METRICS) == BEST_METRICS


def test_a_checkpoint_of_an_unknown_metric_is_one_line():
    run = SimpleNamespace(given=(), checkpoint_metric="top1", patience=None)
    with pytest.raises(ToolError, match="by 'f1', which this version does not know: give --checkpoint_metric"):
        best_config(run, {"best": {"metric": "f1"}})
    run.given = ("checkpoint_metric",)
    assert best_config(run, {"best": {"metric": "f1"}})["metric"] == "top1"


def test_the_means_of_an_epoch_are_those_of_the_classes():
    best = Best("auroc")
    found = best.collector()
    from dataset.loaders import Batch

    found.add(Batch(torch.empty(0), torch.tensor([0, 0, 0, 1]), torch.arange(4)),
              torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.4, 0.6]]).log())  # fmt: skip
    assert class_means(found) == {"balanced_accuracy": pytest.approx(5 / 6), "auroc": pytest.approx(2 / 3)}
    assert Best().collector() is None and class_means(None) == {}


def test_a_run_keeps_its_metric_and_its_best_epoch_when_it_is_resumed(scripts, tiny, tmp_path, records):
    flags = f"{tiny} --output_dir {tmp_path} --lr 1e-9"
    code, out, err = scripts("train", f"{flags} --epochs 2 --checkpoint_metric auroc")
    assert code == 0 and ", AUROC 0." in out and "best epoch" in out, err
    path = tmp_path / "MNIST5k_use_slot_checkpoint.pth"
    first = checkpoint.load(path)["best"]
    assert first["metric"] == "auroc"
    assert first["value"] == max(record["val_auroc"] for record in records(tmp_path))
    code, out, err = scripts("train", f"{flags} --epochs 9 --patience 1 --resume auto")
    assert code == 0 and "stopped early by --patience 1: best epoch " in out, err
    last = checkpoint.load(path)["best"]
    assert last["metric"] == "auroc" and last["value"] >= first["value"]
    assert checkpoint.load(path.with_stem(path.stem + "_best"))["epoch"] == last["epoch"]
    assert len(records(tmp_path)) < 9
    code, out, err = scripts("train", f"{flags} --epochs 9 --patience 1 --resume auto")
    assert code == 0 and "stopped early" in out and "epoch 9/9" not in out, err

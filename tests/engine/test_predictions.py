"""Predictions of every picture: their order, their table, and pictures without labels."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from dataset.loaders import Batch
from engine import predictions
from engine.predictions import Predictions, save_predictions

NAME = "MNIST5k_use_slot_checkpoint.pth"


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predictions_of_several_processes_are_in_the_order_of_the_pictures(monkeypatch):
    logits = torch.arange(15.0).view(5, 3) % 4
    parts = []
    for rank in range(2):  # as the sampler shares them; picture 3 could not be decoded
        numbers = torch.tensor([n for n in range(rank, 6, 2) if n != 3])
        own = Predictions()
        index = [n if n < 3 else n - 1 for n in numbers.tolist()]
        own.add(Batch(torch.empty(0), numbers * 10, numbers), logits[index])
        parts += own._batches
    monkeypatch.setattr(predictions, "gather", lambda items: parts)
    found = Predictions().complete()
    assert found.numbers.tolist() == [0, 1, 2, 4, 5] and found.labels.tolist() == [0, 10, 20, 40, 50]
    assert torch.equal(found.logits, logits)


def test_no_tensor_of_a_loading_process_is_kept():
    numbers = torch.arange(3)
    found = Predictions()
    found.add(Batch(torch.empty(0), numbers, numbers), torch.zeros(3, 2))
    assert not any(np.shares_memory(part, numbers.numpy()) for part in found._batches[0])


def test_the_table_has_a_row_for_each_picture_and_any_name(tmp_path):
    found = Predictions()
    found.add(Batch(torch.empty(0), torch.tensor([1, 0]), torch.tensor([2, 0])), torch.tensor([[0.0, 0.0], [9.0, 0.0]]))
    found.complete()
    save_predictions(tmp_path / "p.csv", found, ["a,1.png", "b.png", 'c".png'], ["cat", "true"])
    rows = rows_of(tmp_path / "p.csv")
    assert [row["file"] for row in rows] == ["a,1.png", 'c".png']
    assert [(row["true"], row["predicted"]) for row in rows] == [("cat", "cat"), ("true", "cat")]
    assert float(rows[0]["p(cat)"]) == pytest.approx(0.999877, abs=1e-6) and float(rows[1]["p(true)"]) == 0.5


@pytest.fixture
def trained(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "trained")


def test_a_split_is_written_with_figures_that_agree_with_its_table(scripts, trained):
    flags = f"--checkpoint {trained}/{NAME} --device cpu --num_workers 0 --batch_size 33"
    code, out, err = scripts("test", f"{flags} --predictions true")
    assert code == 0, err
    rows, results = rows_of(trained / "predictions.csv"), json.loads((trained / "results.json").read_text())
    right = np.array([row["true"] == row["predicted"] for row in rows])
    assert len(rows) == 200 and right.mean() == pytest.approx(results["top1"])
    recall = {name: row["recall"] for name, row in results["by_class"].items()}
    assert recall == pytest.approx(results["per_class"])
    assert results["balanced_accuracy"] == pytest.approx(sum(recall.values()) / 2)
    low, high = results["intervals"]["top1"]
    assert low <= results["top1"] <= high
    assert (trained / "MNIST5k_use_slot_calibration.png").is_file() and "specificity" in out and "95 % interval" in out
    assert isinstance(results["classes"], str)  # the fingerprint, as before


def test_pictures_without_labels_get_a_table_alone(scripts, fails, trained, tmp_path, picture_writer):
    for name in ("b.png", "a.png"):
        picture_writer(tmp_path / "new" / name)
    flags = f"--checkpoint {trained}/{NAME} --device cpu --num_workers 0 --predict {tmp_path}/new"
    before = {path.name for path in trained.iterdir()}
    code, out, err = scripts("test", f"{flags} --predictions {tmp_path}/out/p.csv")
    assert code == 0 and f"predictions of 2 pictures: {tmp_path}/out/p.csv" in out, err
    rows = rows_of(tmp_path / "out" / "p.csv")
    assert [row["file"].rpartition("/")[2] for row in rows] == ["a.png", "b.png"] and "true" not in rows[0]
    assert {path.name for path in trained.iterdir()} == before
    (tmp_path / "new" / "bad.png").write_bytes(b"no picture")
    assert "bad.png" in fails("test", flags)
    code, out, err = scripts("test", f"{flags} --bad_images skip")
    assert code == 0 and f"predictions of 2 pictures: {trained}/predicted.csv" in out and "bad.png" in err
    assert {path.name for path in trained.iterdir()} - before == {"predicted.csv"}  # no table of a split is replaced
    assert "there are no pictures" in fails("test", flags.replace("/new", "/out"))
    assert "give --predict instead" in fails("test", flags.replace("--predict", "--predictions true --image"))

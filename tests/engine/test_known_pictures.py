"""The record of checked pictures, as runs use it."""

import contextlib
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from dataset import check
from dataset.registry import build_dataset
from engine import known_pictures as module


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Folder of a small dataset that is worth a record, and the list of the files that are checked."""
    monkeypatch.setenv("SCOUTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "FEWEST_FILES", 10)
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{number}.png")
    checked, fault = [], check.picture_fault
    monkeypatch.setattr(check, "picture_fault", lambda path: (checked.append(path.parent.name), fault(path))[1])
    return tmp_path / "data", checked


@pytest.fixture
def start(scripts, tiny, data):
    """Function that starts a run which trains nothing; returns the number of checked files, and the notes."""

    def run():
        data[1].clear()
        code, _, err = scripts("train", tiny.replace("MNIST5k --num_classes 2", f"Folder --dataset_dir {data[0]}"),
                               "--epochs 1 --batch_size 16 --output_dir ''")  # fmt: skip
        assert code == 0, err
        return len(data[1]), err

    return run


def test_a_second_run_checks_what_has_changed_and_a_damaged_record_is_made_anew(start, data, tmp_path):
    assert start()[0] == 20 and start()[0] == 0
    os.utime(data[0] / "train" / "cat" / "3.png", ns=(0, 5))
    assert start()[0] == 1 and start()[0] == 0
    [record] = (tmp_path / "cache").iterdir()
    record.write_bytes(record.read_bytes()[:-300])
    count, notes = start()
    assert count == 20 and f"train.py: note: {record} is ignored and made anew (" in notes
    assert start()[0] == 0


def test_it_works_without_a_folder_for_the_record(start, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SCOUTER_CACHE", str(tmp_path / "file" / "below"))
    assert "SCOUTER_CACHE names another folder" in start()[1] and start()[0] == 20
    monkeypatch.setenv("SCOUTER_CACHE", "")
    assert start()[0] == 20 and "SCOUTER_CACHE" not in start()[1]


@pytest.mark.parametrize("script", ["train", "test"])
def test_the_other_processes_of_a_launch_check_nothing_again(scripts, tiny, data, tmp_path, monkeypatch, script):
    flags = tiny.replace("MNIST5k --num_classes 2", f"Folder --dataset_dir {data[0]}")
    if script == "test":
        assert scripts("train", flags, f"--epochs 1 --batch_size 16 --output_dir {tmp_path}")[0] == 0
        shutil.rmtree(tmp_path / "cache")
        flags = f"--checkpoint {tmp_path}/Folder_use_slot_checkpoint.pth --device cpu --num_workers 0 --vis false"

    @contextlib.contextmanager
    def after_main():  # when the first process has checked all files
        if not (tmp_path / "cache").exists():
            known = module.known_pictures(str(data[0]))
            for split in ("train", "val"):
                build_dataset("Folder", split, dataset_dir=str(data[0]), known=known, img_size=(8, 8), num_classes=None)
        data[1].clear()
        yield

    monkeypatch.setattr("tools.distributed.main_first", after_main)
    monkeypatch.setattr("tools.distributed.is_main", lambda: False)
    assert scripts(script, flags, "--batch_size 16 --output_dir ''")[0] == 0
    assert data[1] == []


def test_small_datasets_have_no_record(start, data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FEWEST_FILES", 21)
    assert start()[0] == 20 and not (tmp_path / "cache").exists()


def test_arrays_that_do_not_fit_are_ignored_with_a_note(data, caplog):
    known = module.known_pictures(str(data[0]))
    rows = known.look_up(sorted(data[0].rglob("*.png")))
    known.set_checked(rows)
    known.size = np.append(known.size, [1, 2])
    known.store({"names": np.zeros(3, np.uint8), "size": np.arange(12)})
    assert module.known_pictures(str(data[0])).rows == {} and "is ignored and made anew" in caplog.text


def test_another_version_of_the_decoder_checks_again(start, monkeypatch):
    start()
    monkeypatch.setattr(module.PIL, "__version__", "0.1")
    assert start()[0] == 20

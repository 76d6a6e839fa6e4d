import argparse
import copy
import os
import pickle
import re
from pathlib import Path

import pytest
import torch

from tools import VERSION, ToolError, checkpoint

WHOLE = {
    "model": {"fc.weight": torch.ones(2, 3), "bn.num_batches_tracked": torch.tensor(7)},
    "model_config": {"backbone": "resnet18", "num_classes": 2, "use_slot": False, "in_chans": 1, "img_size": (2, 3)},
    "data_config": {"dataset": "MNIST", "class_names": ["a", "b"], "mean": (0.1,), "std": (0.3,)},
    "train_config": {"lambda_value": 1.0, "power": 2.0},
    "epoch": 1,
}


def test_a_round_trip_keeps_types_and_tensors(tmp_path):
    path = tmp_path / "a.pth"
    content = {**WHOLE, "model": {"w": torch.arange(3.0)}}
    checkpoint.save(path, content)
    loaded = checkpoint.load(path)
    assert loaded["model_config"] == content["model_config"] and torch.equal(loaded["model"]["w"], torch.arange(3.0))
    assert torch.load(path, weights_only=True)["epoch"] == 1


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, writer):
    mark, path = tmp_path / "run", tmp_path / "malicious.pth"
    content = {"model": {}, "args": Malicious(mark)}
    torch.save(content, path) if writer == "torch" else path.write_bytes(pickle.dumps(content))
    with pytest.raises(ToolError, match=r"malicious.pth: refused") as caught:
        checkpoint.load(path)
    assert not mark.exists() and "\n" not in str(caught.value)


def test_a_namespace_cannot_smuggle_anything_in(tmp_path):
    mark, path = tmp_path / "run", tmp_path / "malicious.pth"
    torch.save({"model": {}, "args": argparse.Namespace(model=Malicious(mark))}, path)
    with pytest.raises(ToolError, match="refused"):
        checkpoint.load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "not a"),
        (b"just words", "not a checkpoint"),
        (
            {"weights": torch.zeros(1)},
            r"not a SCOUTER checkpoint .*; for backbone weights alone use --backbone_weights",
        ),
        ({"format": "scouter-1", "model": {}}, "it has no model_config, data_config, train_config, epoch"),
        (
            {"model": {}, "args": argparse.Namespace(num_classes=None)},
            r"looks like a checkpoint of the published code, but cannot be translated \(TypeError",
        ),
        ([1, 2], "not a SCOUTER checkpoint"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_refused_with_the_reason(tmp_path, content, message):
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ToolError, match=message) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_cut_short_anywhere_is_reported(tmp_path, archive):
    path = tmp_path / "a.pth"
    torch.save({"model": {"w": torch.randn(300)}}, path, _use_new_zipfile_serialization=archive)
    data = path.read_bytes()
    for keep in range(0, len(data) - 1, 40):
        path.write_bytes(data[:keep])
        with pytest.raises(ToolError, match=r"a.pth: (not a|refused)"):
            checkpoint.load(path)


def test_a_full_disk_keeps_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    checkpoint.save(path, {"epoch": 1})

    def full(content, file):
        raise RuntimeError("unexpected pos 64 vs 0")

    with monkeypatch.context() as patched, pytest.raises(ToolError, match="cannot be written"):
        patched.setattr(torch, "save", full)
        checkpoint.save(path, {"epoch": 2})
    assert torch.load(path, weights_only=True)["epoch"] == 1


def test_an_interrupted_save_leaves_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    checkpoint.save(path, {**WHOLE, "epoch": 1})

    def dies(content, file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(torch, "save", dies)
        checkpoint.save(path, {**WHOLE, "epoch": 2})
    assert checkpoint.load(path)["epoch"] == 1
    checkpoint.save(path, {**WHOLE, "epoch": 3})
    assert checkpoint.load(path)["epoch"] == 3 and [p.name for p in tmp_path.iterdir()] == ["a.pth"]


def test_run_names_are_those_of_the_published_code():
    name = checkpoint.run_name
    assert name("MNIST", use_slot=True, loss_status=1) == "MNIST_use_slot"
    assert name("CUB200", use_slot=True, loss_status=-1) == "CUB200_use_slot_negative"
    assert name("CUB200", use_slot=False, loss_status=-1) == "CUB200_no_slot"
    run = name("ImageNet", use_slot=True, loss_status=-1, area_of=(1, 3))
    path = checkpoint.checkpoint_path("out", run, "0009")
    assert path == Path("out/ImageNet_use_slot_negative_for_area_size_1.0_3_checkpoint0009.pth")


def test_last_best_and_numbered_files(tmp_path):
    for epoch, best, numbered in ((8, True, False), (9, False, True)):
        checkpoint.save_epoch(tmp_path, "r", {"epoch": epoch}, best=best, numbered=numbered)
    epochs = {p.name: torch.load(p, weights_only=True)["epoch"] for p in tmp_path.iterdir()}
    assert epochs == {"r_checkpoint.pth": 9, "r_checkpoint_best.pth": 8, "r_checkpoint0009.pth": 9}


def test_weights_are_read_from_their_containers(tmp_path):
    torch.save({"state_dict": {"module.w": torch.ones(1)}}, tmp_path / "a.pth")
    assert list(checkpoint.read_state_dict(tmp_path / "a.pth")) == ["w"]
    torch.save({"w": torch.tensor([1.0, float("nan")])}, tmp_path / "c.pth")
    with pytest.raises(ToolError, match=r"c.pth: weight w has values that are not finite numbers; give another file"):
        checkpoint.read_state_dict(tmp_path / "c.pth")
    torch.save({"epoch": 3}, tmp_path / "b.pth")
    with pytest.raises(ToolError, match="no state dict"):
        checkpoint.read_state_dict(tmp_path / "b.pth")


def test_a_flipped_bit_is_found_wherever_it_changes_a_value(tmp_path):
    path = tmp_path / "a.pth"
    checkpoint.save(path, {**WHOLE, "model": {"fc.weight": torch.ones(2, 3000)}})
    data = path.read_bytes()
    for place in range(0, len(data), 997):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        try:
            loaded = checkpoint.load(path)
        except ToolError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:  # the bit is one of the zeros between the records
            assert {**loaded, "model": 0} == {**WHOLE, "model": 0, "format": loaded["format"], "version": VERSION}
            assert torch.equal(loaded["model"]["fc.weight"], torch.ones(2, 3000))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("epoch", "3", "epoch must be a whole number from -1 to 1000000, not '3'"),
        ("epoch", 10**12, "epoch must be a whole number"),
        ("model_config", [1], "model_config is no dict"),
        ("model_config.num_classes", -1, "model_config num_classes must be a whole number from 1 to 1000000, not -1"),
        ("model_config.num_classes", 3, "class_names has 2 names for 3 classes"),
        ("model_config.use_slot", "yes", "use_slot must be True or False"),
        ("model_config.in_chans", 3, "mean has 1 values for 3 channels"),
        ("model_config.img_size", (0, 3), "img_size must be height and width in pixels"),
        ("model_config.img_size", 260, "img_size must be height and width in pixels, not 260"),
        ("model_config.out_stage", "2", "out_stage must be"),
        ("model_config.backbone", None, "backbone must be a name, not None"),
        ("model_config.pretrained", True, "pretrained must be left out"),
        ("model_config.iters", torch.ones(2), "model_config must be names and plain values"),
        ("model_config.stem", "7x7", "model_config stem must be timm or 3x3, not '7x7'"),
        ("data_config.val_from_train", 1, "data_config val_from_train must be True or False, not 1"),
        ("data_config.class_names", "ab", "class_names must be None or a list of names"),
        ("data_config.wnids", 1e300, "data_config wnids must be None or a list of names, not 1e+300"),
        ("data_config.wnids", ["n01440764"], "data_config wnids has 1 names for 2 classes"),
        ("initial_weights", {}, "initial_weights must be a text"),
        ("data_config.mean", (float("nan"),), "mean must be a finite number for each channel"),
        ("data_config.std", (0.0,), "std must be a positive number for each channel"),
        ("data_config.dataset", 3, "dataset must be a name"),
        ("train_config.power", float("inf"), "power must be a number from 0"),
        ("model.fc.weight", torch.tensor([float("nan")]), "model fc.weight has values that are not finite"),
        ("model.fc.weight", "text", "model 'fc.weight' must be a tensor, not 'text'"),
        ("best_top1", "high", "best_top1 must be a number from -1 to 1"),
        ("stopped", {"images": -5}, "stopped images must be a whole number"),
        ("metrics", 3, "metrics must be named plain values"),
    ],
)
def test_an_entry_of_a_wrong_type_or_an_absurd_value_is_named(tmp_path, place, value, message):
    content = copy.deepcopy(WHOLE)
    group, _, name = place.partition(".")
    if name:
        content[group][name] = value
    else:
        content[group] = value
    torch.save({**content, "format": "scouter-2"}, tmp_path / "a.pth")
    with pytest.raises(ToolError, match=re.escape(message)) as caught:
        checkpoint.load(tmp_path / "a.pth")
    assert "a.pth: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["model_config.img_size", "data_config.std", "train_config.lambda_value"])
def test_a_missing_entry_is_named(tmp_path, place):
    content = copy.deepcopy(WHOLE)
    group, name = place.split(".")
    del content[group][name]
    torch.save({**content, "format": "scouter-2"}, tmp_path / "a.pth")
    with pytest.raises(ToolError, match=f"a.pth: {group} {name} is missing"):
        checkpoint.load(tmp_path / "a.pth")


def test_a_lack_of_memory_is_no_damage_of_the_file(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "a.pth", {"weights": torch.zeros(2)})

    def load(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 49152 bytes")

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        checkpoint.read_file(tmp_path / "a.pth")

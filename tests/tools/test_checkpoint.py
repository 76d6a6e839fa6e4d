import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch

from sloter.slot_model import build_model
from tools import ToolError, checkpoint, files

WHOLE = {"model": {}, "model_config": {}, "data_config": {}, "train_config": {}, "epoch": 1}


def published_model(tmp_path, *, mnist=True, use_slot=True):
    """A file as the published code writes it, from random weights, and the model it should become."""
    torch.manual_seed(0)
    config = {
        "backbone": "resnet18", "num_classes": 3, "in_chans": 1 if mnist else 3, "img_size": (64, 64),
        "use_slot": use_slot, "stem": "3x3" if mnist else "timm",
    }  # fmt: skip
    if use_slot:
        config |= {"slots_per_class": 2, "hidden_dim": 64, "to_k_layers": 2, "loss_status": -1}
    model = build_model(**config).eval()
    state = {}
    for key, value in model.state_dict().items():
        if key == "slot.initial_slots":
            value = value[None]
        state[f"{key}_l0" if key.startswith("slot.gru.") else key] = value
    if use_slot:
        state |= {"slot.to_q.0.weight": torch.zeros(64, 64), "slot.to_q.0.bias": torch.zeros(64)}
    args = argparse.Namespace(
        model="resnet18", dataset="MNIST" if mnist else "CUB200", num_classes=3, img_size=64, use_slot=use_slot,
        loss_status=-1, slots_per_class=2, to_k_layer=2, hidden_dim=64, lambda_value="1.5", power="2",
    )  # fmt: skip
    path = tmp_path / "published.pth"
    torch.save({"model": state, "optimizer": {}, "lr_scheduler": {}, "epoch": 9, "args": args}, path)
    return path, model


@pytest.mark.parametrize("mnist", [True, False])
@pytest.mark.parametrize("use_slot", [True, False])
def test_files_of_the_published_code_load(tmp_path, mnist, use_slot):
    path, model = published_model(tmp_path, mnist=mnist, use_slot=use_slot)
    state = checkpoint.load(path)
    rebuilt = build_model(**state["model_config"]).eval()
    rebuilt.load_state_dict(state["model"])
    images = torch.randn(2, 1 if mnist else 3, 64, 64)
    torch.testing.assert_close(rebuilt(images).logits, model(images).logits)
    assert state["train_config"] == {"lambda_value": 1.5, "power": 2.0} and state["epoch"] == 9
    assert state["data_config"]["mean"] == ((0.1307,) if mnist else (0.485, 0.456, 0.406))


def test_a_round_trip_keeps_types_and_tensors(tmp_path):
    path = tmp_path / "a.pth"
    content = {**WHOLE, "model": {"w": torch.arange(3.0)}, "model_config": {"img_size": (2, 3), "out_stage": None}}
    checkpoint.save(path, content)
    loaded = checkpoint.load(path)
    assert loaded["model_config"] == content["model_config"] and torch.equal(loaded["model"]["w"], torch.arange(3.0))
    assert torch.load(path, weights_only=True)["epoch"] == 1


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, writer):
    mark, path = tmp_path / "run", tmp_path / "hostile.pth"
    content = {"model": {}, "args": Hostile(mark)}
    torch.save(content, path) if writer == "torch" else path.write_bytes(pickle.dumps(content))
    with pytest.raises(ToolError, match=r"hostile.pth: refused") as caught:
        checkpoint.load(path)
    assert not mark.exists() and "\n" not in str(caught.value)


def test_a_namespace_cannot_smuggle_anything_in(tmp_path):
    mark, path = tmp_path / "run", tmp_path / "hostile.pth"
    torch.save({"model": {}, "args": argparse.Namespace(model=Hostile(mark))}, path)
    with pytest.raises(ToolError, match="refused"):
        checkpoint.load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        (b"", "not a"),
        (b"just words", "not a checkpoint"),
        ({"weights": torch.zeros(1)}, "not a SCOUTER checkpoint"),
        ({"format": "scouter-1", "model": {}}, "it has no model_config, data_config, train_config, epoch"),
        ({"model": {}, "args": argparse.Namespace(num_classes=None)}, "looks like a checkpoint of the published code"),
        ([1, 2], "not a SCOUTER checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_said(tmp_path, content, told):
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ToolError, match=told) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_cut_short_anywhere_is_said(tmp_path, archive):
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


def test_a_save_that_dies_leaves_the_previous_file(tmp_path, monkeypatch):
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


def test_names_are_those_of_the_published_code():
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


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match=r"the folder .*file/out cannot be written \(Not a directory\)"):
        files.writable_folder(tmp_path / "file" / "out")


def test_weights_are_read_out_of_their_containers(tmp_path):
    torch.save({"state_dict": {"module.w": torch.ones(1)}}, tmp_path / "a.pth")
    assert list(checkpoint.read_state_dict(tmp_path / "a.pth")) == ["w"]
    torch.save({"epoch": 3}, tmp_path / "b.pth")
    with pytest.raises(ToolError, match="no state dict"):
        checkpoint.read_state_dict(tmp_path / "b.pth")

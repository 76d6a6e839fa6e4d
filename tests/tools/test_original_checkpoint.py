import argparse

import pytest
import torch

from sloter.slot_model import build_model
from tools import ToolError, checkpoint
from tools.original_checkpoint import upgrade


def published_model(tmp_path, *, mnist=True, use_slot=True):
    """A checkpoint file of the published code with random weights, and the same model built by ours."""
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


def test_a_published_file_without_classes_is_one_line(tmp_path):
    path, _ = published_model(tmp_path, mnist=True, use_slot=True)
    content = torch.load(path, weights_only=False)
    content["args"].num_classes = 0
    torch.save(content, path)
    with pytest.raises(ToolError, match="looks like a checkpoint of the published code, but cannot be translated"):
        checkpoint.load(path)


def test_old_names_of_options_and_parameters_are_translated():
    config, state = upgrade({"worth": "equal", "floor": True, "tau": 4.0}, {"slot.scores.log_tau": 1, "slot.gru.x": 2})
    assert config == {"value_weighting": "equal", "reference": "min", "logit_scale": 4.0}
    assert state == {"slot.normaliser.log_scale": 1, "slot.gru.x": 2}
    assert upgrade({"floor": False}, {})[0] == {"reference": "none"} and upgrade({}, {}) == ({}, {})


def test_plain_squeeze_and_excitation_networks_of_the_published_code_load(tmp_path):
    """What it calls seresnet18 is another architecture in today's timm, which has given this one a prefix."""
    model = build_model(backbone="legacy_seresnet18", num_classes=3, img_size=(64, 64), use_slot=False).eval()
    args = argparse.Namespace(model="seresnet18", dataset="CUB200", num_classes=3, img_size=64, use_slot=False)
    torch.save({"model": model.state_dict(), "epoch": 9, "args": args}, tmp_path / "published.pth")
    state = checkpoint.load(tmp_path / "published.pth")
    rebuilt = build_model(**state["model_config"]).eval()
    rebuilt.load_state_dict(state["model"])
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(rebuilt(images).logits, model(images).logits)

"""Models of the same classes in another order, side by side."""

import hashlib
import logging

import pytest
import torch
from PIL import Image

from engine.plain_classifier import load_plain
from engine.trained_model import TrainedModel
from sloter.slot_model import build_model
from tools import checkpoint

CONFIG = {
    "backbone": "test_resnet", "num_classes": 3, "use_slot": True, "in_chans": 3, "img_size": (32, 32), "out_stage": 2,
    "slots_per_class": 2, "loss_status": 1, "attention": "qknorm", "stem": "timm",
}  # fmt: skip


@pytest.fixture
def save(tmp_path):
    """Saves a slot model of three classes whose outputs are in an order, and opens it."""
    torch.manual_seed(0)
    state = build_model(**CONFIG).state_dict()

    def run(name, order, names=("a", "b", "c")):
        weights = dict(state)
        slots = weights["slot.initial_slots"].unflatten(0, (3, 2))[order]  # (c, s, d)
        weights["slot.initial_slots"] = slots.flatten(0, 1)
        data = {"dataset": "Folder", "mean": (0.5,) * 3, "std": (0.5,) * 3}
        if names:
            data["class_names"] = [names[c] for c in order]
        content = {
            "model": weights,
            "model_config": CONFIG,
            "data_config": data,
            "train_config": {"lambda_value": 1.0, "power": 2.0},
            "epoch": 0,
        }
        path = checkpoint.checkpoint_path(tmp_path, name)
        checkpoint.save(path, content)
        return TrainedModel.open(path, device=torch.device("cpu"))

    return run


def test_the_maps_of_a_model_beside_another_are_for_the_same_classes(save):
    first, _ = save("first", [0, 1, 2]), save("second", [2, 0, 1])
    second = first.beside("second")
    picture = Image.effect_noise((40, 40), 90).convert("RGB")
    one, other = first.explain(picture), second.explain(picture)
    assert second.class_names == ["a", "b", "c"] and len(set(one.logits.tolist())) == 3
    for name in ("logits", "probabilities", "attention", "evidence"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))
    images, targets = first.normalised(first.pixels(picture))[None], torch.tensor([[2, 0]])
    maps = [model.explainer("evidence")(images, targets) for model in (first, second)]
    torch.testing.assert_close(*maps)
    assert first.beside("none") is None


def test_a_plain_classifier_that_was_trained_on_pictures_which_validate_is_noted(save, tmp_path, caplog):
    run = checkpoint.run_name("Folder", use_slot=False, loss_status=1)
    path = save(run, [0, 1, 2]).path
    content = checkpoint.load(path)
    for held_out, noted in ((["a/1.png", "a/2.png"], False), (["a/1.png"], True), (None, False)):
        checkpoint.save(path, content | {"data_config": content["data_config"] | {"held_out": held_out}})
        caplog.clear()
        load_plain(str(tmp_path), "Folder", backbones=("test_resnet",), swept={}, held_out=["a/1.png", "a/2.png"])
        assert ("did not hold out 1 of the 2 pictures that validate here" in caplog.text) == noted


@pytest.mark.parametrize(("names", "said"), [(["c", "a", "b"], ""), (["a", "b", "x"], "they differ in c, x")])
def test_the_backbone_of_a_plain_classifier_of_other_classes_is_taken_with_a_line(save, tmp_path, capsys, names, said):
    run = checkpoint.run_name("Folder", use_slot=False, loss_status=1)
    save(run, [0, 1, 2])
    load_plain(str(tmp_path), "Folder", backbones=("test_resnet",), swept={}, class_names=names)
    out = capsys.readouterr().out
    assert said in out and out.count("\n") == bool(said) == ("its backbone alone is taken" in out)


def test_a_model_of_other_classes_is_left_out_with_their_names(save, caplog):
    first, _ = save("first", [0, 1, 2]), save("second", [0, 1, 2], names=("a", "b", "d"))
    with caplog.at_level(logging.WARNING):
        assert first.beside("second") is None
    assert "it has d, which the other does not, and lacks c" in caplog.text


def test_without_names_the_order_counts_and_it_is_said(save, caplog):
    first, _ = save("first", [0, 1, 2]), save("second", [0, 1, 2], names=None)
    with caplog.at_level(logging.WARNING):
        assert first.beside("second").order is None
    assert "matched by their order" in caplog.text


def test_two_classes_of_one_name_have_two_names(save):
    assert save("first", [0, 1, 2], names=("crane", "b", "crane")).class_names == ["crane (0)", "b", "crane (2)"]


def test_a_result_is_of_the_checkpoint_that_was_opened(save):
    model = save("model", [0, 1, 2])
    expected = hashlib.sha256(model.path.read_bytes()).hexdigest()[:12]
    model.path.write_bytes(b"of a later epoch")
    assert model.provenance(None)["checkpoint_id"] == expected

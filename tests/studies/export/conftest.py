"""Trained models with random weights, on disk and open, and the export as a user runs it."""

import sys

import pytest
import torch

from engine.trained_model import TrainedModel
from sloter.slot_model import build_model
from tools import checkpoint

STATISTICS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PAPER = {"attention": "paper", "hidden_dim": 32, "slots_per_class": 2, "iters": 3, "to_k_layers": 1}
DIRECT = {  # recipes/direct.txt, but for its width
    "attention": "qknorm", "logit_scale": 3.0, "salience": 3.0, "reference": "quantile", "value_weighting": "equal",
    "position": "none", "iters": 1, "to_k_layers": 0, "hidden_dim": 32, "slots_per_class": 1,
}  # fmt: skip
FORMS = {"paper": PAPER, "direct": DIRECT}
CLASSES = 25


@pytest.fixture
def saved(tmp_path):
    """Saves the checkpoint of a model with random weights, of the form ``paper`` or ``direct``; returns its path."""

    def run(*, form="paper", name="model_checkpoint.pth", backbone="test_resnet", img_size=(64, 96), **options):
        torch.manual_seed(0)
        config = {
            "backbone": backbone, "num_classes": CLASSES, "use_slot": True, "in_chans": 3, "img_size": img_size,
            "out_stage": None, "stem": "timm", **FORMS[form], **options,
        }  # fmt: skip
        model = build_model(**config)
        for module in model.modules():  # statistics of batch norm as after a training, neither 0 nor 1
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.running_mean, std=0.1)
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        names = [f"class {number}" for number in range(CLASSES)]
        checkpoint.save(tmp_path / name, {
            "model": model.state_dict(), "model_config": config, "epoch": 0,
            "data_config": {"dataset": "Folder", "class_names": names, **STATISTICS},
            "train_config": {"lambda_value": 1.0, "power": 2.0},
        })  # fmt: skip
        return tmp_path / name

    return run


@pytest.fixture
def opened(saved):
    """Opens such a model."""
    return lambda **options: TrainedModel.open(saved(**options), device=torch.device("cpu"))


@pytest.fixture
def export(monkeypatch, capsys):
    """Runs ``python -m studies.export`` in this process; returns its exit code, output and errors."""
    from studies.export import __main__ as program

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["export", *map(str, flags)])
        capsys.readouterr()
        try:
            code = program.run_script(program.main, "export", (program.ModelError, program.DataError))
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def agrees():
    """Compares outputs with those of PyTorch, within 1e-4 of the sum of |evidence|, and sums the evidence."""

    def check(found, model, images, *, sign):
        with torch.no_grad():
            expected = model(images)
        total = expected.evidence.abs().sum((2, 3))  # (b, c)
        assert total.min() > 0
        # The few classes near the reference have no evidence to speak of.
        scale = total.clamp_min(0.1 * total.amax(1, keepdim=True))
        found = {name: torch.as_tensor(value) for name, value in found.items()}
        assert set(found) == {"logits", "attention", "evidence"}
        assert (found["logits"] - expected.logits).abs().div(scale).max() < 1e-4
        assert (found["evidence"] - expected.evidence).abs().div(scale[..., None, None]).max() < 1e-4
        torch.testing.assert_close(found["attention"], expected.attn.sum(2), rtol=1e-3, atol=1e-4)
        assert (found["logits"] - sign * found["evidence"].sum((2, 3))).abs().div(total).max() < 1e-4
        assert found["logits"].std(1).min() > 0

    return check

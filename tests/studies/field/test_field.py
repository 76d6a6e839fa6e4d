"""The study runs, is interrupted, continues and survives a failed step."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch

from dataset import DataError, Listing
from dataset.pictures import PictureDataset
from engine.explain.attribution.registry import build_explainer
from sloter.backbone import grid_features
from studies.field import __main__ as study
from studies.field.data import Backbone, FieldData, boxed
from studies.field.models import as_plain, restore, setting_of
from studies.field.plan import MODELS
from studies.head_study.sources import DatasetChoice
from tools import ToolError

FLAGS = (
    "--data MNIST5k::2 --model test_resnet --img_size 48 --epochs 1 --models paper-,direct,linear "
    "--methods CAM,IntegratedGradients --images 4 --slow_images 2 --metric_steps 2 --infidelity_samples 2 "
    "--metrics area,insertion_deletion,random_head --ig_steps 20 --device cpu"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), file)
    return file


@pytest.fixture
def field(monkeypatch, capsys, weights):
    def run(folder, *flags):
        """Run the study in this process; returns its exit code, output and errors."""
        monkeypatch.setattr(
            sys,
            "argv",
            ["field", *FLAGS.split(), "--backbone_weights", str(weights), "--output_dir", str(folder), *flags],
        )
        code = study.run_script(study.main, "field", (DataError,))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory, as_user, weights):
    """Folder of a finished study that was started as a user starts it."""
    folder = tmp_path_factory.mktemp("finished")
    done = as_user(f"python -m studies.field {FLAGS} --backbone_weights {weights} --output_dir {folder}")
    assert done.returncode == 0 and "failed" not in done.stderr, done.stderr
    return folder


def results(folder):
    """Time of each result of a step."""
    return {file.relative_to(folder): file.stat().st_mtime_ns for file in (folder / "MNIST5k").rglob("*.*")}


def test_one_command_gives_the_table(finished):
    study = json.loads((finished / "field.json").read_text())
    rows = {(row["model"], row["map"]): row for row in study["rows"]}
    assert [row["images"] for row in rows.values()] == [4, 4, 4, 2]
    assert rows["linear (FC)", "CAM"]["forwards"] == 1 and rows["linear (FC)", "IntegratedGradients"]["forwards"] == 60
    assert all(0 <= row["iauc"] <= 1 and len(row["intervals"]["iauc"]) == 2 for row in rows.values())
    assert [("iauc_true" in row) for row in rows.values()] == [True, False, False, False]  # the negative model
    assert len({row["top1"] for row in study["rows"][2:]}) == 1 and not study["failed"]
    assert all(-1 <= row["random_head"] < 0.9 for row in rows.values())  # the weights of the classes are redrawn
    assert study["machine"]["torch"] and study["flags"]["seed"] == 0
    table = (finished / "field.md").read_text()
    assert table.count("| measured |") == 4 and table.count("**published**") == len(study["published"])
    assert "drawn with seed 0 (MNIST5k, 2 classes" in table and "up to 4 pictures, or 2 for more than 50" in table
    assert (finished / "field.png").is_file() and (finished / "field.csv").is_file()


def test_what_is_done_is_not_done_again(finished, field):
    before = results(finished)
    code, out, err = field(finished)
    assert code == 0 and results(finished) == before, err
    assert out.count("done before") == 7  # three trainings, four rows


def test_a_changed_setting_is_measured_again_but_not_trained_again(finished, field):
    before = results(finished)
    code, out, _ = field(finished, "--images", "3", "--ig_steps", "21")
    changed = {str(file) for file, time in results(finished).items() if before.get(file) != time}
    assert code == 0 and out.count("done before") == 3
    assert changed == {f"MNIST5k/{name}.json" for name in ("paper-/own_map", "direct/own_map", "linear/CAM",
                                                           "linear/IntegratedGradients")}  # fmt: skip
    code, out, _ = field(finished, "--images", "3", "--ig_steps", "21", "--epochs", "2", "--models", "direct")
    assert code == 0 and "done before" not in out  # another training, so another map


def test_an_interrupted_study_continues(tmp_path, field, monkeypatch):
    own = study.measure

    def interrupted(data, model, split, method, **keywords):
        if method == "IntegratedGradients":
            raise KeyboardInterrupt
        return own(data, model, split, method, **keywords)

    monkeypatch.setattr(study, "measure", interrupted)
    code, _, err = field(tmp_path, "--models", "linear")
    assert code == 130 and "Traceback" not in err
    monkeypatch.setattr(study, "measure", own)
    code, out, _ = field(tmp_path, "--models", "linear")
    assert code == 0 and out.count("done before") == 2 and "IntegratedGradients: 2 pictures" in out


def test_a_failed_step_does_not_end_the_others(tmp_path, field, monkeypatch):
    own = study.measure

    def failing(data, model, split, method, **keywords):
        if method == "CAM":
            raise RuntimeError("planted\nfault")
        return own(data, model, split, method, **keywords)

    monkeypatch.setattr(study, "measure", failing)
    code, _, err = field(tmp_path, "--models", "linear,direct")
    lines = [line for line in err.splitlines() if "tensors of the backbone" not in line and "left out" not in line]
    assert code == 2 and len(lines) == 2, err
    assert "MNIST5k, 2 classes, linear, CAM failed: planted (" in lines[0]
    assert lines[1] == ("field: error: 1 of the steps failed, and the table is without them: MNIST5k, 2 classes, "
                        "linear, CAM; the same command tries them again")  # fmt: skip
    content = json.loads((tmp_path / "field.json").read_text())
    assert [row["map"] for row in content["rows"]] == ["IntegratedGradients", "own map"]
    assert content["failed"] == [{"step": "MNIST5k, 2 classes, linear, CAM", "reason": "planted"}]


def test_missing_data_are_one_line_before_any_work(tmp_path, field):
    code, out, err = field(tmp_path, "--data", "MNIST5k::2", "CUB200:/nowhere")
    lines = [line for line in err.splitlines() if ": note: " not in line]
    assert code == 2 and len(lines) == 1 and "/nowhere" in lines[0] and not out and not (tmp_path / "MNIST5k").exists()


@pytest.fixture(scope="module")
def linear(finished, weights):
    """The data of a study and its linear classifier."""
    backbone = Backbone("test_resnet", torch.load(weights), str(weights), (48, 48))
    data = FieldData(DatasetChoice("MNIST5k", None, 2), backbone, folder=finished, device=torch.device("cpu"))
    setting = setting_of(MODELS["linear"], epochs=1, batch_size=32, seed=0)
    return data, restore(data, setting, finished / "MNIST5k" / "linear" / "head.safetensors")


def test_the_methods_explain_the_classifier_that_was_trained(linear):
    """CAM of the whole timm model is proportional to the contributions to the logits of the head on its features."""
    data, model = linear
    split, images = as_plain(data, model), next(iter(data.loader(data.sample(4, seed=0), batch_size=4))).images
    torch.testing.assert_close(split(images), model.logits(images), rtol=1e-4, atol=1e-5)
    maps = build_explainer("CAM", split)(images, torch.tensor([[0, 1]] * 4)).flatten(2)  # (4, 2, n)
    own = model.head.contributions(grid_features(data.backbone, images)).detach().flatten(2)
    maps, own = (values - values.mean(2, keepdim=True) for values in (maps, own))
    assert torch.nn.functional.cosine_similarity(maps, own, dim=2).min() > 0.999


def test_a_classifier_that_is_not_the_trained_one_is_refused(linear, monkeypatch):
    data, model = linear
    build = Backbone.build

    def other_pooling(self, num_classes, in_chans):
        whole = build(self, num_classes, in_chans)
        whole.global_pool = timm.layers.SelectAdaptivePool2d(pool_type="max", flatten=True)
        return whole

    monkeypatch.setattr(Backbone, "build", other_pooling)
    with pytest.raises(ToolError, match="more than pooling and a linear layer"):
        as_plain(data, model)


def test_only_pictures_with_boxes_are_measured():
    boxes = [np.array([[0, 0, 4, 4]]), None, np.array([[2, 2, 6, 6]])]
    listing = Listing(np.zeros((3, 8, 8), np.uint8), [0, 1, 1], ["a", "b"], boxes=boxes)
    monkey = SimpleNamespace(boxes=lambda n: None if boxes[n] is None else torch.tensor(boxes[n]))
    data = PictureDataset(listing, img_size=(8, 8), in_chans=1, num_classes=2)
    data.boxes = monkey.boxes
    assert boxed(data).listing.labels == [0, 1] and len(boxed(data)) == 2
    data.boxes = lambda n: None
    assert boxed(data) is data

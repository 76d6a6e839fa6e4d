"""The Python interface, also in a process that has modules named like the project's."""

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import ExifTags, Image

import hubconf
from dataset import DataError
from dataset.pictures import open_picture
from dataset.registry import build_dataset
from sloter import ModelError
from tools import ToolError, checkpoint
from tools.figures.sheet import Panel

ROOT = Path(hubconf.__file__).parent
NAMES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def model():
    return hubconf.digits()


@pytest.fixture(scope="module")
def data():
    return build_dataset("MNIST5k", "val", dataset_dir=None, img_size=(56, 56), num_classes=10)


@pytest.fixture(scope="module")
def seven(data):
    """Grey picture of a 7."""
    return data.picture(data.listing.labels.index(7))


@pytest.fixture
def plain(tmp_path):
    """Checkpoint of a plain classifier of three classes of RGB pictures."""
    config = {"backbone": "test_resnet", "num_classes": 3, "use_slot": False, "in_chans": 3, "img_size": (32, 32)}
    content = {
        "model": hubconf.scouter(**config).state_dict(), "model_config": config, "epoch": 0,
        "data_config": {"dataset": "Folder", "mean": (0.5,) * 3, "std": (0.5,) * 3, "class_names": ["a", "b", "c"]},
        "train_config": {"lambda_value": 1.0, "power": 2.0, "dataset_dir": "/home/user/photos"},
    }  # fmt: skip
    checkpoint.save(tmp_path / "plain.pth", content)
    return tmp_path / "plain.pth"


def test_the_digits_have_their_accuracy(model, data):
    pixels = torch.stack([data.pixels(index) for index in range(len(data))])
    with torch.no_grad():
        logits = torch.cat([model.model(model.normalised(part)).logits for part in pixels.split(100)])
    top1 = (logits.argmax(1) == torch.tensor(data.listing.labels)).double().mean().item()
    assert len(data) == 1000 and top1 == pytest.approx(0.989, abs=0.001)
    card = (ROOT / "pretrained" / "digits" / "README.md").read_text()
    assert "top-1: 98.90% on 1000 pictures of MNIST5k, split val" in card
    assert sum(file.stat().st_size for file in (ROOT / "pretrained" / "digits").iterdir()) < 2e6


def test_an_explanation_has_names_and_its_parts_sum_to_the_logit(model, seven):
    result = model.explain(seven)
    assert result.class_names == NAMES and result.predicted == "7" and not result.negative
    assert "predicted 7 (p = 0.9" in repr(result)
    assert result.probabilities.sum().item() == pytest.approx(1)
    torch.testing.assert_close(result.evidence.sum((1, 2)), result.logits, rtol=1e-4, atol=1e-4)
    one = result.for_class("7")
    assert one.number == 7 and one.logit == result.logits[7] and one.attention.shape == (7, 7)
    assert (one.why - one.why_not + one.common).sum().item() == pytest.approx(one.logit, rel=1e-4)
    nats = (result.probabilities[7].log() - result.probabilities[1].log()).item()
    assert result.contrast("7", "1").sum().item() == pytest.approx(nats, rel=1e-3)
    assert torch.equal(result.contrast(7, 1), result.contrast("7", "1"))


def test_every_kind_of_picture_gives_the_same_explanation(model, seven, tmp_path):
    seven.save(tmp_path / "seven.png")
    array = np.asarray(seven)
    tensor = torch.from_numpy(array.copy())[None]
    kinds = [
        seven, tmp_path / "seven.png", str(tmp_path / "seven.png"), Image.open(tmp_path / "seven.png"), array,
        array[..., None], array / 255, (array / 255).astype(np.float32), np.stack([array] * 3, -1), tensor,
        tensor / 255, (tensor / 255).requires_grad_(), tensor.repeat(3, 1, 1),
    ]  # fmt: skip
    expected = model.explain(seven)
    for kind in kinds:
        assert torch.equal(model.explain(kind).evidence, expected.evidence), kind
    for several in (kinds, tuple(kinds), torch.stack([tensor] * 3), np.stack([array[..., None]] * 3)):
        found = model.explain(several, batch_size=2)
        assert len(found) == len(several)
        for one in found:
            torch.testing.assert_close(one.evidence, expected.evidence, rtol=1e-4, atol=1e-4)
    assert model.explain([]) == []


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_turned_picture_is_turned_once(model, seven, tmp_path, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    seven.transpose(Image.Transpose.ROTATE_90).convert("RGB").save(tmp_path / f"a.{suffix}", exif=exif)
    expected = model.explain(tmp_path / f"a.{suffix}")
    assert expected.predicted == "7"
    for given in (Image.open(tmp_path / f"a.{suffix}"), open_picture(tmp_path / f"a.{suffix}", 1)):
        assert torch.equal(model.explain(given).logits, expected.logits)


def test_a_deep_picture_is_read_as_its_file(model, seven, tmp_path):
    deep = (np.asarray(seven).astype(np.uint16) << 8) + 255
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert torch.equal(model.explain(Image.fromarray(deep)).logits, model.explain(tmp_path / "deep.png").logits)


def test_the_results_of_a_list_are_in_its_order_and_computed_in_batches(model, data, monkeypatch):
    sizes, forward = [], model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda images: sizes.append(len(images)) or forward(images))
    pictures = [data.picture(data.listing.labels.index(digit)) for digit in (4, 0, 1, 3, 7)]
    found = model.explain(pictures, batch_size=2)
    assert [one.predicted for one in found] == ["4", "0", "1", "3", "7"] and sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "int is no picture: give a path"),
        (np.zeros((3, 4, 5)), r"a picture of the shape \(3, 4, 5\), the channels last: an array is"),
        (torch.zeros(2, 8, 8), r"a picture of the shape \(8, 8, 2\)"),
        (np.zeros((0, 4)), r"a picture of the shape \(0, 4\)"),
        (np.zeros((4, 4), np.int64), "a picture of int64: give uint8"),
        (np.full((4, 4), 7.5), "values from 7.5 to 7.5: floating-point values must lie in 0..1"),
        (np.full((4, 4), np.nan), "values from nan to nan"),
        ("missing.png", "missing.png cannot be read"),
        ([np.zeros((4, 4)), None], "picture 1 of the list: NoneType is no picture"),
    ],
)
def test_a_wrong_picture_is_an_error_of_one_line(model, given, message):
    with pytest.raises(DataError, match=message) as error:
        model.explain(given)
    assert "\n" not in str(error.value)


def test_other_wrong_input_is_an_error_of_one_line(model, seven, plain, tmp_path):
    result = model.explain(seven)
    for ask in (lambda: result.for_class("ten"), lambda: result.contrast("7", "ten"), lambda: result.figure("ten")):
        with pytest.raises(DataError, match="class ten: the model has no such class; it has 0, 1, 2"):
            ask()
    for wrong in (10, -1):
        with pytest.raises(DataError, match=f"class {wrong}: the model has no such class"):
            result.for_class(wrong)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        model.explain([seven], batch_size=0)
    with pytest.raises(ToolError, match="is a plain classifier, which has no maps of its own"):
        hubconf.trained(plain).explain(seven)
    with pytest.raises(ToolError, match="device tpu9: not available"):
        hubconf.trained(plain, device="tpu9")
    with pytest.raises(ToolError, match="no such file"):
        hubconf.trained(tmp_path / "none.pth")
    for size in (96, "96", (96.0, 96), (0, 8), (8,)):
        with pytest.raises(ModelError, match=r"img_size .*: give the height and the width in pixels, such as"):
            hubconf.trained(plain, img_size=size)
        with pytest.raises(ModelError, match=r"img_size .*: give the height and the width in pixels, such as"):
            hubconf.scouter("test_resnet", 3, img_size=size)
    with pytest.raises(ModelError, match=r"num_classes 2\.5: give a whole number from 1"):
        hubconf.scouter("test_resnet", 2.5)
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        model.explain("a" * 5000)
    with pytest.raises(ModelError, match="unknown model 'resnet81'"):
        hubconf.scouter("resnet81", 3)
    with pytest.raises(ModelError, match="unknown keyword 'slots' of build_model"):
        hubconf.scouter("test_resnet", 3, slots=2)


def test_a_new_model_has_its_options():
    model = hubconf.scouter("test_resnet", 3, img_size=(32, 32), out_stage=2, slots_per_class=2)
    assert model(torch.zeros(1, 3, 32, 32)).attn.shape == (1, 3, 2, 4, 4)


def test_the_figure_is_drawn_for_the_classes_asked_for(model, seven):
    result = model.explain(seven)
    figure = result.figure("1", 7)
    assert isinstance(figure, Figure)
    shown = [artist for artist in figure.artists if type(artist) is Panel]
    titles = [panel.title.get_text().partition("\n")[0] for panel in shown]
    assert titles[:3] == ["picture", "1", "7"] and figure.get_suptitle() == repr(result)
    FigureCanvasAgg(figure).draw()
    for text in figure.findobj(Text):
        box = text.get_window_extent()
        assert not text.get_visible() or not text.get_text() or box.y0 >= 0, text  # none is cut off below
    title = figure._suptitle.get_window_extent()
    assert all(panel.title.get_window_extent().y1 <= title.y0 for panel in shown)
    above = shown[1].get_window_extent()
    assert all(above.y0 >= panel.title.get_window_extent().y1 for panel in shown[3:])
    assert result._repr_html_().startswith('<img alt="predicted 7 (p = ')


def test_the_figure_of_one_class_rather_than_another_has_the_numbers_of_the_script(model, seven):
    result = model.explain(seven)
    nats = math.log(float(result.probabilities[7]) / float(result.probabilities[2]))
    ratio = float(result.probabilities[7]) / float(result.probabilities[2])
    assert ratio > 10  # so that it is written without decimals
    figure = result.figure(versus="2")
    title, text, amounts = figure.get_suptitle().split("\n")
    assert title == repr(result) and text.startswith(
        f"7 rather than 2: {nats:.1f} nats; by the model's probabilities 7"
    )
    assert re.fullmatch(r"(more than )?([\d,]+) times as likely as 2", text.partition(" 7 is ")[2])
    assert float(re.search(r"([\d,]+) times", text)[1].replace(",", "")) == pytest.approx(min(ratio, 1e6), rel=0.01)
    assert amounts.endswith(f" = {nats:.1f} nats")
    drawn = figure.artists[1]
    np.testing.assert_array_equal(drawn.values, result.contrast("7", "2").numpy())
    assert "red: for 7" in drawn.title.get_text() and "blue, dashed: for 2" in drawn.title.get_text()
    # the other way round, by numbers: the same places with the opposite sign
    other = result.figure(2, versus=7)
    np.testing.assert_allclose(other.artists[1].values, -drawn.values, rtol=1e-5, atol=1e-6)
    assert f"2 rather than 7: {-nats:.1f} nats; by the model's probabilities 7 is " in other.get_suptitle()


@pytest.mark.parametrize("kind", ["list", "array", "tensor"])
def test_every_result_of_a_batch_has_the_figure(model, data, kind):
    arrays = [np.asarray(data.picture(data.listing.labels.index(digit))) for digit in (4, 0, 7)]
    several = {
        "list": arrays,
        "array": np.stack(arrays)[..., None],
        "tensor": torch.from_numpy(np.stack(arrays))[:, None],
    }
    texts = [result.figure(versus="3").get_suptitle() for result in model.explain(several[kind], batch_size=2)]
    assert [text.split("\n")[1].partition(":")[0] for text in texts] == [f"{c} rather than 3" for c in "407"]


def test_a_contrast_that_says_nothing_is_an_error_of_one_line(model, seven):
    result = model.explain(seven)
    for classes, versus, message in (
        ((), "7", "versus 7: that is the predicted class: give another"),
        (("3",), 3, "versus 3: that is the same class: give another"),
        (("1", "2"), "3", "versus 3: it is drawn for one class, not for 2"),
        ((), "ten", "class ten: the model has no such class"),
    ):
        with pytest.raises(DataError, match=message):
            result.figure(*classes, versus=versus)


def everything_global() -> dict[str, object]:
    """State of the process that a library must leave alone."""
    return {
        "random": random.getstate(), "numpy": str(np.random.get_state()),  # noqa: NPY002
         "torch": torch.get_rng_state().tolist(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads(), threading.active_count()),
        "matplotlib": [*dict.items(matplotlib.rcParams)], "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "precision": torch.get_float32_matmul_precision(), "path": [*sys.path], "cwd": Path.cwd(),
        "deterministic": torch.are_deterministic_algorithms_enabled(), "environment": dict(os.environ),
    }  # fmt: skip


def test_nothing_global_changes_and_nothing_is_printed_or_written(seven, plain, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    files, before = sorted(tmp_path.rglob("*")), everything_global()
    model = hubconf.digits()
    hubconf.trained(plain)
    result = model.explain([seven])[0]
    result.figure()
    result._repr_html_()
    result.contrast("7", "1")
    result.figure("7", versus="1")
    after = everything_global()
    assert [name for name in before if before[name] != after[name]] == []
    assert capfd.readouterr() == ("", "") and sorted(tmp_path.rglob("*")) == files


PROGRAM = """
import os, signal, sys
import numpy, matplotlib, timm, torch
import tools, dataset.mine
ours = {{name: sys.modules[name] for name in ("tools", "dataset", "dataset.mine")}}
def state():
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return ([*dict.items(matplotlib.rcParams)], torch.get_num_threads(), torch.get_rng_state().tolist(), signals,
            sys.excepthook, [*sys.path], os.environ.copy(), torch.utils.deterministic.fill_uninitialized_memory)
before = state()
for _ in range(2):
    model = torch.hub.load({root!r}, "digits", source="local")
assert all(sys.modules[name] is module for name, module in ours.items())
assert not [name for name in sys.modules if name.partition(".")[0] in ("engine", "sloter")]
assert not hasattr(tools, "ToolError") and tools.mine == dataset.mine.mine == 1
result = model.explain(numpy.zeros((30, 20)))
result.figure()
result._repr_html_()
assert result.contrast("7", "1").shape == (7, 7)
assert "7 rather than 1" in result.figure("7", versus="1").get_suptitle()
assert state() == before, [x for x, y in zip(state(), before) if x != y]
assert matplotlib.get_backend(auto_select=False) is None and "matplotlib.pyplot" not in sys.modules
model.save_pretrained("saved")
again = torch.hub.load({root!r}, "from_pretrained", "saved", source="local")
assert torch.equal(again.explain(numpy.zeros((30, 20))).evidence, result.evidence)
import tools.other
try:
    model.explain(3)
except ValueError as error:
    print(error)
"""


PICKLE = """
import pickle, sys, torch
result = torch.hub.load({root!r}, "digits", source="local").explain(torch.zeros(1, 30, 20))
assert torch.equal(pickle.loads(pickle.dumps(result)).evidence, result.evidence)
assert {root!r} not in sys.path
"""


def test_a_process_with_modules_of_the_same_names_keeps_them(tmp_path):
    for name, text in {
        "tools/__init__": "mine = 1",
        "tools/other": "",
        "dataset/mine": "mine = 1",
        "engine": "",
    }.items():
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    done = ran(PROGRAM, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("int is no picture") and done.stdout.count("\n") == 1 and not done.stderr


def ran(program: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a program in its own folder, outside the project."""
    (folder / "program.py").write_text(program.format(root=str(ROOT)))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=200,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_results_can_be_pickled_where_nobody_else_has_the_names(tmp_path):
    done = ran(PICKLE, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_model_is_saved_and_read_bit_by_bit(plain, tmp_path):
    model = hubconf.trained(plain)
    fold = {"folds": 2, "fold": 1, "groups": "/home/user/patients.csv", "held_out": ["a/1.png"]}
    model.state["data_config"]["cross_validation"] = fold
    folder = model.save_pretrained(tmp_path / "saved", licence="cc-by-4.0", about="A test.")
    again = hubconf.from_pretrained(folder)
    before, after = model.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert all(before[name].dtype == after[name].dtype for name in before)
    assert again.class_names == ["a", "b", "c"] and again.statistics == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert again.img_size == (32, 32) and "/home/user" not in (folder / "config.json").read_text()
    assert again.state["data_config"]["cross_validation"] == {"folds": 2, "fold": 1, "held_out": ["a/1.png"]}
    card = (folder / "README.md").read_text()
    for part in ('license: "cc-by-4.0"', "A test.", "- classes: 3: a, b, c", "accuracy: not known"):
        assert part in card
    assert "the maps may be used" not in card  # it has none


@pytest.mark.parametrize("name", ["direct", "paper", "qknorm"])
def test_a_model_of_an_earlier_version_is_saved_and_read(tmp_path, name):
    model = hubconf.trained(ROOT / "tests" / "old_checkpoints" / f"{name}.pth")
    again = hubconf.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    side = torch.rand(model.in_chans, *model.img_size)
    assert torch.equal(again.explain(side).evidence, model.explain(side).evidence)


def test_names_of_any_characters_are_saved(plain, tmp_path):
    names = ["a\nb", "\udce9", "猫"]
    content = checkpoint.load(plain)
    checkpoint.save(plain, {**content, "data_config": {**content["data_config"], "class_names": names}})
    folder = hubconf.trained(plain).save_pretrained(tmp_path / "saved")
    assert hubconf.from_pretrained(folder).class_names == names
    assert r"- classes: 3: a\nb, \udce9, 猫" in (folder / "README.md").read_text()


def test_the_card_has_the_accuracy_of_this_checkpoint_only(plain, tmp_path):
    model = hubconf.trained(plain)
    results = {**model.provenance(None), "dataset": "Folder", "split": "val", "pictures": 40, "top1": 0.85,
               "intervals": {"top1": [0.7, 0.9]}}  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(results))
    card = model.save_pretrained(tmp_path / "one") / "README.md"
    assert "top-1: 85.00% (95 % interval 70.00% to 90.00%) on 40 pictures of Folder, split val" in card.read_text()
    (tmp_path / "results.json").write_text(json.dumps({**results, "checkpoint_id": "0" * 12}))
    assert "accuracy: not known" in (model.save_pretrained(tmp_path / "two") / "README.md").read_text()


def test_weights_beyond_half_precision_are_an_error(plain, tmp_path):
    model = hubconf.trained(plain)
    with torch.no_grad():
        next(model.model.parameters()).mul_(1e9)
    with pytest.raises(ToolError, match="beyond the range of half precision"):
        model.save_pretrained(tmp_path / "saved", half=True)
    assert not (tmp_path / "saved").exists()


def test_a_damaged_folder_and_no_connection_are_errors_of_one_line(tmp_path, monkeypatch):
    folder = tmp_path / "digits"
    shutil.copytree(ROOT / "pretrained" / "digits", folder)
    config = json.loads((folder / "config.json").read_text())

    def fails(message, name=folder):
        with pytest.raises(ToolError, match=message) as error:
            hubconf.from_pretrained(name)
        assert "\n" not in str(error.value)

    (folder / "config.json").write_text(json.dumps({**config, "data_config": {**config["data_config"], "std": [0]}}))
    fails("data_config std must be a positive number for each channel")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    fails("config.json: it has no format, model_config")
    (folder / "config.json").unlink()
    fails("config.json cannot be read")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"no")
    fails("model.safetensors: not a readable checkpoint")
    (folder / "model.safetensors").unlink()
    fails("model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    fails("'user/model' is no folder, and cannot be read from the Hugging Face hub", "user/model")
    fails("is no folder", "no such/place/at all")

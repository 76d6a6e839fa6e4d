"""ONNX files give the logits and maps of PyTorch in onnxruntime, for every form, sign and family of backbones."""

import contextlib
import io
import itertools
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import hubconf
from studies.export import __main__ as program
from studies.export import onnx_file
from studies.export.formats import FORMATS, exported_program, exporting
from studies.export.module import ExportedModel

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[3]
BACKBONES = {"test_resnet": (64, 96), "test_efficientnet": (64, 96), "test_convnext": (64, 96), "test_vit": (160, 160)}
FORMS = ("paper", "direct")


def picture_of_a_seven():
    picture = Image.new("L", (56, 56))
    ImageDraw.Draw(picture).line([(18, 12), (38, 12), (26, 44)], fill=255, width=5)
    return picture


def session(content):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def outputs(run, images):
    names = [output.name for output in run.get_outputs()]
    return dict(zip(names, run.run(None, {"images": images}), strict=True))


def holds(opened, agrees, form, backbone, sign):
    trained = opened(form=form, backbone=backbone, img_size=BACKBONES[backbone], loss_status=sign)
    module = ExportedModel(trained, uint8=False)
    with exporting("onnx"):
        content = FORMATS["onnx"].write(module, torch.zeros(2, 3, *trained.img_size), {"sign": sign})
    run = session(content)
    for b in (1, 3):
        images = torch.randn(b, 3, *trained.img_size, generator=torch.Generator().manual_seed(b))
        agrees(outputs(run, images.numpy()), trained.model, images, sign=sign)
    assert run.get_inputs()[0].shape == ["b", 3, *trained.img_size]
    assert [output.shape[0] for output in run.get_outputs()] == ["b"] * 3


# Every family, and every pair of form and sign; an export takes four seconds, so the rest is marked slow.
@pytest.mark.parametrize(("form", "backbone", "sign"), [
    ("paper", "test_resnet", 1), ("direct", "test_efficientnet", -1), ("direct", "test_convnext", 1),
    ("paper", "test_vit", -1),
])  # fmt: skip
def test_logits_and_maps_are_those_of_pytorch(opened, agrees, form, backbone, sign):
    holds(opened, agrees, form, backbone, sign)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "backbone", "sign"), [*itertools.product(FORMS, BACKBONES, (1, -1))])
def test_logits_and_maps_are_those_of_pytorch_in_every_combination(opened, agrees, form, backbone, sign):
    holds(opened, agrees, form, backbone, sign)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The shipped model with pixels as its input, exported by the program's own function."""
    file, output = tmp_path_factory.mktemp("digits") / "digits.onnx", io.StringIO()
    command = f"export --checkpoint pretrained/digits --input uint8 --output {file}"
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(output):
        monkeypatch.setattr(sys, "argv", command.split())
        program.main()
    compared, saved = output.getvalue().splitlines()
    assert compared.startswith("compared with PyTorch by onnxruntime on 4 random pictures: logits and evidence differ")
    assert saved.startswith(f"saved: {file}, ")
    assert saved.endswith("images (b, 56x56x1) uint8 pixels to logits, attention and evidence of 10 classes")
    return file


def test_the_shipped_model_reads_pixels_with_onnxruntime_and_numpy_alone(digits):
    picture = picture_of_a_seven()
    run = session(str(digits))
    about = {name: json.loads(value) for name, value in run.get_modelmeta().custom_metadata_map.items()}
    assert about["input_shape"] == ["b", 56, 56, 1] and about["mean"] == [0.1307] and about["std"] == [0.3081]
    assert about["sign"] == 1 and about["reference"] == "quantile 0.95" and about["form"]["attention"] == "qknorm"
    found = outputs(run, np.asarray(picture)[None, :, :, None])
    expected = hubconf.digits().explain(picture)
    assert about["class_names"] == expected.class_names
    assert about["class_names"][found["logits"][0].argmax()] == expected.predicted == "7"
    np.testing.assert_allclose(found["logits"][0], expected.logits, atol=1e-4)
    np.testing.assert_allclose(found["evidence"][0], expected.evidence, atol=1e-4)
    np.testing.assert_allclose(found["evidence"][0].sum((1, 2)), found["logits"][0], atol=1e-4)
    onnx.checker.check_model(str(digits), full_check=True)


def test_the_program_of_the_documentation_runs(digits, monkeypatch, capsys):
    monkeypatch.chdir(digits.parent)
    picture_of_a_seven().resize((70, 70)).save("digit.png")
    exec(re.search(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)[1], {})
    assert capsys.readouterr().out.startswith("7 with probability 0.9")


def test_a_model_that_is_too_large_for_one_file_is_a_line(saved, export, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    code, _, err = export("--checkpoint", saved())
    assert code == 2 and "at most 2 GiB: give --format torch_export" in err and err.count("\n") == 1
    assert not list(tmp_path.glob("*.onnx"))


def test_the_sign_of_a_negative_factor_is_kept():
    """The translation of copysign, which is the only operator of ours."""

    class Model(torch.nn.Module):
        def forward(self, images):
            return {"logits": images.abs().clamp_min(1e-3).copysign(images)}

    values = torch.tensor([[-2.0, -1e-9, 1e-9, 3.0]])
    program = exported_program(Model(), values.repeat(2, 1))
    with exporting("onnx"):
        content = onnx_file.onnx_bytes(program, {})
    assert onnx_file.open_onnx(content)(values)["logits"].tolist() == [pytest.approx([-2.0, -1e-3, 1e-3, 3.0])]

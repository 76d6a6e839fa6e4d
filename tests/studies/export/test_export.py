"""The program's flags, files and check, and the formats that need no further package."""

import io
import json

import pytest
import torch

from engine.trained_model import TrainedModel
from studies.export import check, flags, formats
from studies.export.flags import parse_args
from studies.export.metadata import is_exported


def load_torch_export(path):
    extra = {"metadata.json": ""}
    return torch.export.load(str(path), extra_files=extra).module(), json.loads(extra["metadata.json"])


def load_torchscript(path):
    extra = {"metadata.json": ""}
    return torch.jit.load(str(path), _extra_files=extra), json.loads(extra["metadata.json"])


# PyTorch calls TorchScript deprecated, with each call.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")

LOADERS = {"torch_export": (load_torch_export, ".pt2"), "torchscript": (load_torchscript, ".pt")}


@pytest.mark.parametrize(("name", "form", "sign"), [
    ("torch_export", "paper", -1), ("torch_export", "direct", 1),
    ("torchscript", "paper", 1), ("torchscript", "direct", -1),
])  # fmt: skip
def test_a_file_of_pytorch_gives_what_the_model_gives(saved, export, agrees, name, form, sign):
    path = saved(form=form, loss_status=sign)
    code, out, err = export("--checkpoint", path, "--format", name)
    assert (code, err) == (0, "") and len(out.splitlines()) == 2, (out, err)
    load, ending = LOADERS[name]
    run, about = load(path.with_suffix(ending))
    trained = TrainedModel.open(path, device=torch.device("cpu"))
    for b in (1, 3):
        images = torch.randn(b, 3, 64, 96)
        agrees(run(images), trained.model, images, sign=sign)
    assert about["sign"] == sign and about["input_shape"] == ["b", 3, 64, 96] and about["input"] == "normalised"
    assert about["class_names"] == trained.class_names and about["form"]["slots_per_class"] == 2 - (form == "direct")
    assert about["reference"] == ("none" if form == "paper" else "quantile 0.95")
    assert about["checkpoint_id"] == trained.provenance(None)["checkpoint_id"] and about["mean"][0] == 0.485


@pytest.mark.parametrize("name", LOADERS)
def test_pixels_are_normalised_within_the_file(saved, export, name, picture_writer, tmp_path):
    path, picture = saved(form="direct"), tmp_path / "a.png"
    picture_writer(picture, size=(96, 64))
    code, out, err = export("--checkpoint", path, "--format", name, "--input", "uint8", "--image", picture)
    assert (code, err) == (0, "") and "on 1 given picture:" in out, (out, err)
    load, ending = LOADERS[name]
    run, about = load(path.with_suffix(ending))
    pixels = torch.zeros(1, 64, 96, 3, dtype=torch.uint8)
    pixels[:, :32, :48] = torch.tensor([200, 30, 30], dtype=torch.uint8)  # as the picture
    expected = TrainedModel.open(path, device=torch.device("cpu")).explain(picture)
    torch.testing.assert_close(run(pixels)["logits"][0], expected.logits)
    torch.testing.assert_close(run(pixels)["attention"][0], expected.attention)
    assert about["input_shape"] == ["b", 64, 96, 3]


def test_size_and_reference_of_the_file_may_be_chosen(saved, export, tmp_path):
    path, file = saved(form="direct"), tmp_path / "x.pt"
    flags = ("--img_size", "96x64", "--reference", "min", "--output", file, "--format", "torchscript")
    assert export("--checkpoint", path, *flags)[0] == 0
    run, about = load_torchscript(file)
    assert about["img_size"] == [96, 64] and about["reference"] == "min"
    evidence = run(torch.randn(2, 3, 96, 64))["evidence"]
    assert evidence.min() == 0  # at each place of a class


def test_a_folder_of_save_pretrained_is_exported_into_itself(export, opened, tmp_path):
    folder = opened().save_pretrained(tmp_path / "folder")
    code, out, err = export("--checkpoint", folder, "--format", "torchscript")
    assert (code, err) == (0, "") and f"saved: {folder / 'model.pt'}" in out
    assert {file.name for file in folder.iterdir()} == {"README.md", "config.json", "model.pt", "model.safetensors"}


def test_a_plain_classifier_has_logits_alone(saved, export):
    path = saved(use_slot=False)
    code, out, err = export("--checkpoint", path, "--format", "torchscript")
    assert (code, err) == (0, "") and "of the largest one" in out and "to logits of 25 classes" in out, (out, err)
    run, about = load_torchscript(path.with_suffix(".pt"))
    images = torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        expected = TrainedModel.open(path, device=torch.device("cpu")).model(images).logits
    assert list(run(images)) == ["logits"] and run(images)["logits"].equal(expected)
    assert "sign" not in about and "form" not in about


def test_an_own_file_is_replaced_and_a_foreign_one_is_kept(export, saved, tmp_path):
    path, file = saved(), tmp_path / "model_checkpoint.pt"
    file.write_bytes(b"weights of another program")
    code, _, err = export("--checkpoint", path, "--format", "torchscript")
    assert code == 0 and "renamed to *.kept.pt" in err
    assert (tmp_path / "model_checkpoint.kept.pt").read_bytes() == b"weights of another program"
    before = file.stat().st_mtime_ns
    assert is_exported(file) and not is_exported(path)
    assert export("--checkpoint", path, "--format", "torchscript")[2] == ""
    assert file.stat().st_mtime_ns > before and len(list(tmp_path.glob("*.pt"))) == 2


@pytest.mark.parametrize("fault", ["other logits", "other evidence", "no number", "no evidence"])
def test_a_file_that_disagrees_with_pytorch_is_not_written(export, saved, tmp_path, monkeypatch, fault):
    def opened(content):
        run = torch.jit.load(io.BytesIO(content))

        def wrong(images):
            out = run(images)
            if fault == "other logits":
                out["logits"] = out["logits"].roll(1, 1)
            elif fault == "other evidence":
                out["evidence"] = out["evidence"].roll(1, 2)  # its sum is the same
            elif fault == "no number":
                out["logits"][0, 0] = torch.nan
            else:
                del out["evidence"]
            return out

        return wrong

    monkeypatch.setitem(formats.FORMATS, "torchscript", formats.FORMATS["torchscript"]._replace(open=opened))
    (tmp_path / "model_checkpoint.pt").write_bytes(b"old")
    code, out, err = export("--checkpoint", saved(form="paper"), "--format", "torchscript")
    assert code == 2 and err.count("\n") == 1 and "give another --format" in err and "saved" not in out
    assert [file.read_bytes() for file in tmp_path.glob("*.pt*") if file.suffix != ".pth"] == [b"old"]


def test_the_differences_are_those_worked_out_by_hand():
    evidence = torch.tensor([[[[3.0, -1.0]], [[0.0, 0.0]], [[1.0, 1.0]]]])  # (1, 3, 1, 2), sums of magnitudes 4, 0, 2
    expected = {"logits": evidence.sum((2, 3)), "evidence": evidence, "attention": evidence.abs()}
    found = {name: value.clone() for name, value in expected.items()}
    assert set(check.differences(found, expected, sign=1).values()) == {0.0}
    found["logits"][0, 0] += 1  # of 4
    found["evidence"][0, 2] += 0.5  # at each of two places, of 2
    found["attention"][0, 1, 0, 0] += 0.2  # of a tenth of 4
    worst = check.differences(found, expected, sign=1)
    assert worst == pytest.approx({"logits": 0.25, "evidence": 0.25, "attention": 0.5, "sum": 0.5})
    assert check.differences(expected, expected, sign=-1)["sum"] == pytest.approx(2.0)  # 4 of 2: the wrong sign
    plain = {"logits": torch.tensor([[1.0, -4.0]])}
    assert check.differences({"logits": torch.tensor([[1.0, -3.0]])}, plain, sign=1) == {"logits": 0.25}


def test_wrong_paths_are_lines(export, saved, tmp_path):
    path = saved()
    for given, text in (
        (("--checkpoint", tmp_path / "none.pth"), "no such file"),
        (("--checkpoint", path, "--output", path), "is a file that this run reads"),
        (("--checkpoint", path, "--output", tmp_path), "is a folder"),
        (("--checkpoint", path, "--image", tmp_path / "none.png"), "none.png"),
        (("--checkpoint", tmp_path), "config.json cannot be read"),
    ):
        code, _, err = export(*given, "--format", "torchscript")
        assert code == 2 and text in err and err.startswith("export: error: ") and err.count("\n") == 1, err


def test_a_model_that_the_exporter_refuses_is_a_line(export, saved, monkeypatch):
    def refuse(*args, **options):
        try:
            raise KeyError("aten::strange")
        except KeyError as error:
            raise RuntimeError("many\nlines") from error

    monkeypatch.setattr(torch.export, "export", refuse)
    code, _, err = export("--checkpoint", saved(), "--format", "torch_export")
    assert code == 2 and err.count("\n") == 1
    assert "cannot be exported as torch_export (KeyError: 'aten::strange'): give --format onnx or torchscript" in err


def test_missing_packages_are_a_line_with_the_command(monkeypatch, capsys):
    monkeypatch.setattr(flags.importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else name)
    with pytest.raises(SystemExit) as stopped:
        parse_args(["--checkpoint", "x.pth"])
    line = "--format onnx needs onnx, onnxscript, onnxruntime, which are not installed"
    remedy = "pip install -r requirements-export.txt"
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"python -m studies.export: error: {line}: {remedy}\n"
    assert parse_args(["--checkpoint", "x.pth", "--format", "torch_export"]).output is None


def test_the_program_runs_as_a_user_types_it(as_user, tmp_path):
    file = tmp_path / "digits.pt"
    done = as_user(f"python -m studies.export --checkpoint pretrained/digits --format torchscript --output {file}")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("compared with PyTorch by torch.jit.load on 4 random pictures") and file.is_file()

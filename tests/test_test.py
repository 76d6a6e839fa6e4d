import hashlib
import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

NAME = "MNIST5k_use_slot_checkpoint.pth"


@pytest.fixture
def trained(tiny_run, tmp_path):
    """A copy of the tiny run to write into."""
    return shutil.copytree(tiny_run, tmp_path / "trained")


def test_a_checkpoint_alone_is_enough(scripts, trained, records):
    code, out, _ = scripts("test", f"--checkpoint {trained}/{NAME} --device cpu --num_workers 0 --batch_size 33")
    assert code == 0
    results = json.loads((trained / "results.json").read_text())
    last = records(trained)[-1]
    # the same metrics as in training, whatever the batch size
    for key in ("top1", "top5", "loss", "ce", "attn_mean", "area"):
        assert results[key] == pytest.approx(last[f"val_{key}"], rel=1e-4)
    assert results["images"] == 200 and f"top-1 {results['top1']:.2%}" in out
    assert set(results["per_class"]) == {"0", "1"}  # of equal size: their mean is the whole
    assert sum(results["per_class"].values()) / 2 == pytest.approx(results["top1"])
    figure = Image.open(trained / "MNIST5k_use_slot_confusion.png")
    assert figure.size[0] > 400
    own = hashlib.sha256((trained / NAME).read_bytes()).hexdigest()[:12]
    said = {name: results[name] for name in ("dataset", "folder", "split", "pictures", "img_size", "checkpoint_id")}
    assert said == {"dataset": "MNIST5k", "folder": "", "split": "val", "pictures": 200, "img_size": [32, 32],
                    "checkpoint_id": own}  # fmt: skip
    line = f"MNIST5k, val, 200 pictures, classes {results['classes']}"
    assert figure.info["Description"].replace("\n", " ") == f"{line}, 32 x 32 pixels, checkpoint {own}"
    assert last["data"] == line and Image.open(trained / "curves.png").info["Description"].startswith("MNIST5k")


def test_flags_of_training_are_never_compared(scripts, tiny, trained):
    flags = f"{tiny} --output_dir {trained} --epochs 99 --lambda_value 7 --power 1 --freeze_layers 4 --batch_size 8"
    assert scripts("test", flags)[0] == 0
    results = json.loads((trained / "results.json").read_text())
    # the printed loss has lambda and power of the training, 1 and 2
    assert results["loss"] == pytest.approx(results["ce"] + results["attn_mean"] ** 2, rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model resnet18", "--model resnet18, but the checkpoint has test_resnet"),
        ("--num_classes 10", "--num_classes 10, but the checkpoint has 2"),
        ("--slots_per_class 5", "--slots_per_class 5, but the checkpoint has 1"),
        ("--hidden_dim 32", "--hidden_dim 32, but the checkpoint has 64"),
        ("--to_k_layer 3", "--to_k_layer 3, but the checkpoint has 1"),
        ("--loss_status -1", "--loss_status -1, but the checkpoint has 1"),
        ("--attention paper", "--attention paper, but the checkpoint has qknorm"),
        ("--use_slot false", "--use_slot False, but the checkpoint has True"),
        ("--vis true --vis_id 200", "--vis_id 200: the split has pictures 0 to 199"),
        ("--report r.html --vis false --vis_id 200", "--vis_id 200: the split has pictures 0 to 199"),
        ("--vis true --classes cat", "--classes cat: the model has no such class; it has 0, 1"),
        ("--image /no/such.png", "/no/such.png cannot be read"),
        ("--vis true --vis_dir /dev/null/out", "/dev/null/out cannot be written"),
        ("--dataset Folder --dataset_dir .", "--dataset Folder has 3 channels, the model takes 1"),
    ],
)
def test_wrong_input_is_one_line(fails, trained, flags, message):
    assert message in fails("test", f"--checkpoint {trained}/{NAME} --device cpu --num_workers 0 {flags}")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"words", "not a checkpoint"), ("cut", "damaged or cut short"), ("other", "do not fit")],
)
def test_a_file_that_is_no_checkpoint_is_one_line(fails, trained, content, message):
    path = trained / NAME
    if content is None:
        path.unlink()
    elif content == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif content == "other":
        state = torch.load(path, weights_only=True)
        state["model_config"]["hidden_dim"] = 32
        torch.save(state, path)
    else:
        path.write_bytes(content)
    assert message in fails("test", f"--checkpoint {path} --device cpu")
    assert message in fails("test", f"--dataset MNIST5k --output_dir {trained} --device cpu")


def test_vis_writes_the_published_files_and_a_figure(scripts, trained):
    code, out, _ = scripts("test", f"--checkpoint {trained}/{NAME} --vis true --vis_id 0-1,7 --num_workers 0")
    assert code == 0 and "3 picture(s)" in out
    for name in ("overview.png", "7/explanation.png"):
        figure = Image.open(trained / "vis" / "MNIST5k_use_slot" / name)
        assert figure.info["Description"].startswith("MNIST5k, val, 200 pictures")
    folders = trained / "vis" / "MNIST5k_use_slot"
    assert sorted(p.name for p in folders.iterdir()) == ["0", "1", "7", "overview.png"]
    assert sorted(p.name for p in (folders / "7").iterdir()) == [
        "explanation.png", "image.png", "slot_0.png", "slot_1.png", "slot_mask_0.png", "slot_mask_1.png",
    ]  # fmt: skip
    sizes = {name: Image.open(folders / "7" / f"{name}.png").size for name in ("image", "slot_0", "slot_mask_0")}
    assert sizes == {"image": (32, 32), "slot_0": (4, 4), "slot_mask_0": (32, 32)}
    both = np.stack([np.asarray(Image.open(folders / "7" / f"slot_{c}.png")) for c in (0, 1)])
    assert both.min() == 0 and both.max() == 255  # scaled over both classes together
    # pictures 0 and 1 are the digits zero and one
    assert not np.array_equal(*(np.asarray(Image.open(folders / n / "image.png")) for n in "01"))


def test_the_format_of_pictures_in_colour_can_be_chosen(scripts, trained, tmp_path):
    flags = f"--checkpoint {trained}/{NAME} --vis_id 0,7 --versus 0,1 --num_workers 0 --vis_dir {tmp_path}/v"
    for ending, options in (("png", ""), ("jpg", " --vis_format jpg")):
        code, out, err = scripts("test", flags + options)
        assert code == 0 and f"explanation.{ending} and so on, 2 in {tmp_path}/v/overview.{ending}" in out, err
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == ["0", "7", "overview.jpg", "overview.png"]
    written = [p.name for p in (tmp_path / "v" / "0").iterdir()]
    (versus,) = (name[:8] for name in written if name.startswith("versus") and name.endswith(".jpg"))
    both = ("explanation", "image", "slot_mask_0", "slot_mask_1", versus)  # not versus the predicted class
    assert sorted(written) == sorted(["slot_0.png", "slot_1.png", *(f"{n}.{e}" for n in both for e in ("png", "jpg"))])
    for name in both:
        png, jpeg = (Image.open(tmp_path / "v" / "0" / f"{name}.{ending}") for ending in ("png", "jpg"))
        assert jpeg.format == "JPEG"
        difference = np.asarray(jpeg.convert("RGB"), float) - np.asarray(png.convert("RGB"), float)
        assert np.abs(difference).mean() < 4, name


def test_what_stops_the_map_files_stops_the_program(fails, trained, tmp_path):
    (tmp_path / "0" / "slot_1.png").mkdir(parents=True)  # the files of maps are written in another thread
    line = fails("test", f"--checkpoint {trained}/{NAME} --vis_id 0 --num_workers 0 --vis_dir {tmp_path}")
    assert f"{tmp_path}/0/slot_1.png is a folder" in line


def test_nothing_is_written_into_the_packages(scripts, trained, tmp_path):
    from pathlib import Path

    root = Path(__file__).parents[1]
    before = {p for package in ("sloter", "dataset", "engine", "tools") for p in (root / package).rglob("*")}
    scripts("test", f"--checkpoint {trained}/{NAME} --vis true --num_workers 0 --vis_dir {tmp_path}/here")
    after = {p for package in ("sloter", "dataset", "engine", "tools") for p in (root / package).rglob("*")}
    assert {p for p in after - before if "__pycache__" not in p.parts} == set()
    assert (tmp_path / "here" / "0" / "explanation.png").is_file()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_any_picture_can_be_explained(scripts, trained, tmp_path, mode):
    file = tmp_path / f"own_{mode}.png"
    Image.effect_noise((91, 40), 80).convert(mode).save(file)
    code, _, err = scripts("test", f"--checkpoint {trained}/{NAME} --image {file} --classes 1 --vis_dir {tmp_path}/v")
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "v" / f"own_{mode}").iterdir()) == [
        "explanation.png", "image.png", "slot_1.png", "slot_mask_1.png",
    ]  # fmt: skip
    assert not (trained / "results.json").is_file()


def test_pictures_of_the_same_name_and_of_folders_are_kept_apart(scripts, trained, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.effect_noise((32, 32), 90).save(tmp_path / folder / "x.png")
    code, out, _ = scripts("test", f"--checkpoint {trained}/{NAME} --image {tmp_path}/a/x.png {tmp_path}/b")
    assert code == 0 and out.count("predicted") == 2
    place = trained / "vis" / "MNIST5k_use_slot" / "images"  # apart from the numbered pictures of the split
    assert sorted(p.name for p in place.iterdir()) == ["overview.png", "x", "x_2"]
    first, second = (np.asarray(Image.open(place / name / "image.png")) for name in ("x", "x_2"))
    assert not np.array_equal(first, second)


def test_a_numbered_name_does_not_take_that_of_another_picture(scripts, trained, tmp_path):
    for file in ("x_3.png", "a/x.png", "b/x.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.effect_noise((32, 32), 90).save(tmp_path / file)
    files = " ".join(str(tmp_path / file) for file in ("x_3.png", "a/x.png", "b/x.png"))
    assert scripts("test", f"--checkpoint {trained}/{NAME} --image {files} --vis_dir {tmp_path}/v")[0] == 0
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == ["overview.png", "x", "x_2", "x_3"]


def test_class_names_that_differ_from_the_training_are_refused(fails, trained):
    state = torch.load(trained / NAME, weights_only=True)
    state["data_config"]["class_names"] = ["0", "seven"]
    torch.save(state, trained / NAME)
    line = fails("test", f"--checkpoint {trained}/{NAME} --num_workers 0")
    assert "the data have 1, 2, 3, 4, 5 and 4 more, which the model does not; the model has seven, which" in line


def test_the_order_of_the_outputs_decides_which_class_is_which(scripts, trained):
    """A model with its two outputs exchanged, and their names with them, is the same model."""
    flags = f"--checkpoint {trained}/{NAME} --num_workers 0 --device cpu"
    assert scripts("test", flags)[0] == 0
    before = json.loads((trained / "results.json").read_text())
    state = torch.load(trained / NAME, weights_only=True)
    state["data_config"]["class_names"] = ["1", "0"]
    state["model"]["slot.initial_slots"] = state["model"]["slot.initial_slots"].flip(0)
    torch.save(state, trained / NAME)
    assert scripts("test", flags)[0] == 0
    after = json.loads((trained / "results.json").read_text())
    for key in ("top1", "ce", "area"):
        assert after[key] == pytest.approx(before[key], rel=1e-5)
    assert after["per_class"] == pytest.approx(before["per_class"]) and list(after["per_class"]) == ["1", "0"]


def test_a_resumed_run_keeps_the_order_of_its_outputs(scripts, fails, tiny, trained):
    state = torch.load(trained / NAME, weights_only=True)
    state["data_config"]["class_names"] = ["1", "0"]
    torch.save(state, trained / NAME)
    flags = f"{tiny} --epochs 3 --output_dir {trained} --resume auto"
    assert scripts("train", flags)[0] == 0
    assert torch.load(trained / NAME, weights_only=True)["data_config"]["class_names"] == ["1", "0"]
    state["data_config"]["class_names"] = ["0", "seven"]
    torch.save(state, trained / NAME)
    assert "the model has seven, which the data do not" in fails("train", flags)


def test_thop_prints_the_cost(scripts, trained):
    code, out, _ = scripts("test", f"--checkpoint {trained}/{NAME} --thop true")
    assert code == 0 and out.splitlines()[1].startswith("backbone") and not (trained / "results.json").exists()


def test_a_plain_classifier_has_no_maps_to_draw(scripts, fails, tiny, tmp_path):
    assert scripts("train", tiny, f"--use_slot false --epochs 1 --img_size 16 --output_dir {tmp_path}")[0] == 0
    path = tmp_path / "MNIST5k_no_slot_checkpoint.pth"
    assert scripts("test", f"--checkpoint {path} --device cpu --num_workers 0")[0] == 0
    assert "which has no maps of its own" in fails("test", f"--checkpoint {path} --vis true")


def test_a_file_of_the_published_code_is_evaluated(scripts, tmp_path, real_data):
    import argparse

    from sloter.slot_model import build_model

    model = build_model(
        backbone="resnet18", num_classes=2, in_chans=1, img_size=(64, 64), slots_per_class=1, stem="3x3"
    )
    state = {f"{k}_l0" if ".gru." in k else k: v for k, v in model.state_dict().items()}
    state["slot.initial_slots"] = state["slot.initial_slots"][None]
    args = argparse.Namespace(model="resnet18", dataset="MNIST", num_classes="2", img_size=64, loss_status=1)
    path = tmp_path / "MNIST_use_slot_checkpoint.pth"
    torch.save({"model": state, "epoch": 9, "args": args}, path)
    code, out, err = scripts("test", f"--checkpoint {path} --dataset_dir {real_data}/mnist --device cpu --vis true")
    assert code == 0, err
    assert "on 2115 pictures of MNIST" in out
    assert (tmp_path / "vis" / "MNIST_use_slot" / "0" / "slot_mask_1.png").is_file()


def test_a_trained_model_is_read_with_another_reference(scripts, trained):
    found = {}
    for reference in ("none", "mean", "quantile"):
        flags = f"--checkpoint {trained}/{NAME} --device cpu --num_workers 0 --reference {reference}"
        assert scripts("test", flags)[0] == 0
        found[reference] = json.loads((trained / "results.json").read_text())
    assert [row["reference"] for row in found.values()] == ["none", "mean", "quantile 0.95"]
    for key in ("top1", "ce", "per_class"):
        assert found["mean"][key] == pytest.approx(found["none"][key], rel=1e-5)
    assert found["mean"]["area"] != found["none"]["area"]
    assert found["mean"]["attn_mean"] == pytest.approx(found["quantile"]["attn_mean"], rel=1e-4)


def test_why_one_class_rather_than_another(scripts, trained):
    flags = f"--checkpoint {trained}/{NAME} --device cpu --num_workers 0 --vis true --vis_id 3 --reference mean"
    code, out, _ = scripts("test", f"{flags} --versus 0,1")
    assert code == 0
    (line,) = [line for line in out.splitlines() if "rather than" in line]
    predicted = re.search(r"predicted (\d)", out)[1]
    other = "10"[int(predicted)]
    assert line.startswith(f"picture 3: {predicted} rather than {other}: ")
    nats, probability = float(re.search(r": (\S+) nats", line)[1]), float(re.search(r"\(p = (\S+)\)", out)[1])
    assert probability == pytest.approx(1 / (1 + math.exp(-nats)), abs=0.02)  # both are printed rounded
    folder = trained / "vis" / "MNIST5k_use_slot" / "3"
    assert [path.name for path in folder.glob("versus_*")] == [f"versus_{other}.png"]
    assert "--versus seven: the model has no such class; it has 0, 1" in scripts("test", f"{flags} --versus seven")[2]


def test_a_wrong_prediction_is_contrasted_with_the_true_class(scripts, trained):
    state = torch.load(trained / NAME, weights_only=True)
    slots = state["model"]["slot.initial_slots"]
    state["model"]["slot.initial_slots"] = slots.flip(0)  # each class has the slot of the other one
    torch.save(state, trained / NAME)
    code, out, _ = scripts("test", f"--checkpoint {trained}/{NAME} --num_workers 0 --vis true --vis_id 0-9")
    wrong = [m for m in re.findall(r"picture (\d+): label (\d), predicted (\d)", out) if m[1] != m[2]]
    assert code == 0 and wrong
    for title, label, predicted in wrong:
        assert f"picture {title}: {predicted} rather than {label}: " in out
        assert (trained / "vis" / "MNIST5k_use_slot" / title / f"versus_{label}.png").is_file()

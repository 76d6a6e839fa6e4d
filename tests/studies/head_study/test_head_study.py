"""The head study runs as a user runs it."""

import json

import pytest
import timm
import torch

from studies.head_study.features import cache_file
from studies.head_study.flags import parse_args


def test_a_study_of_a_folder(as_user, tmp_path, picture_writer):
    for split in ("train", "val"):
        for name, colour in zip("abcd", ((250, 20, 20), (20, 20, 250), (20, 250, 20), (9, 9, 9)), strict=True):
            for i in range(3):
                picture_writer(tmp_path / "data" / split / name / f"{i}.png", colour=colour, size=(40 + i, 40))
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    command = (
        f"python -m studies.head_study --data Folder:{tmp_path}/data --model test_resnet "
        f"--backbone_weights {tmp_path}/w.pth --img_size 96 --seeds 2 --epochs 2 --batch_size 4 "
        f"--heads linear,direct --score_images 2 --change hidden_dim=32 "
        f"--device cpu --output_dir {tmp_path}/out"
    )
    done = as_user(command)
    assert done.returncode == 0, done.stderr
    study = json.loads((tmp_path / "out" / "head_study.json").read_text())
    rows = {(row["head"], row["sign"]): row for row in study["table"]}
    assert set(rows) == {("linear", "+1"), ("direct", "+1"), ("direct", "-1")} and len(study["runs"]) == 6
    assert rows["direct", "+1"]["seeds"] == 2 and 0 <= rows["direct", "+1"]["iauc"] <= 1
    assert all(0 <= row["grid"] < 1 for row in rows.values())
    assert all(0 < row["full"] < 1 for row in rows.values() if row["sign"] == "+1")
    for row in study["runs"][:2]:  # of a hardly trained linear head, four classes: about a quarter each
        assert row["full"] == pytest.approx(0.25, abs=0.15)
    assert (tmp_path / "out" / "head_study.png").is_file() and (tmp_path / "out" / "head_study.csv").is_file()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")}
    assert len(files) == 2
    assert as_user(command).returncode == 0  # the features are there
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.safetensors")} == files


def test_other_settings_and_other_code_are_other_files(tmp_path, monkeypatch):
    made_of = {"name": "x", "split": "val", "img_size": (224, 224)}
    same, other = dict(made_of), {**made_of, "img_size": (192, 224)}
    before = cache_file(tmp_path, made_of)
    assert before == cache_file(tmp_path, same) != cache_file(tmp_path, other)
    monkeypatch.setattr("studies.head_study.features.FEATURE_CODE", ("dataset",))
    assert before != cache_file(tmp_path, made_of)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--heads linear", "the following arguments are required: --data"),
        ("--data X:/a:0", "argument --data: 'X:/a:0': 0 is not a whole number of at least 1"),
        ("--data X --heads slots", "'slots' is none of linear, baseline"),
        ("--data X --signs 2", "argument --signs: 2 is neither 1 nor -1"),
        ("--data X --change depth=2", "'depth=2' is not OPTION=VALUE"),
        ("--data X --change iters=many", "iters: 'many' is not a whole number"),
        ("--data X --change logit_scale=0", "logit_scale: 0 is not a number above 0"),
        ("--data X --change salience=-1", "salience: -1 is not a number of at least 0"),
        ("--data X --change dropout=1", "--change: dropout: 1 is not a number below 1"),
        ("--data X --change hidden_dim=30", "--change: hidden_dim: 30 is not a multiple of 4"),
        ("--data X --change floor=low", "floor: 'low' is neither true nor false"),
        ("--data X --change value_weighting=much", "'much' is none of mean, equal"),
        ("--data X --frames 9", "argument --frames: 9 is above 8"),
    ],
)
def test_wrong_flags_are_one_line(capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        parse_args(flags.split())
    err = capsys.readouterr().err
    assert ended.value.code == 2 and message in err and len(err.strip().splitlines()) == 1


def test_old_names_are_read():
    args = parse_args(["--data", "X", "--heads", "control", "--change", "tau=4", "floor=true", "worth=equal"])
    assert args.heads == ("baseline",) and args.lrs == (3e-3,)
    assert args.changes == {"logit_scale": 4.0, "reference": "min", "value_weighting": "equal"}


def test_data_are_named_with_folder_and_classes():
    args = parse_args(["--data", "CUB200:/data/cub:25", "MNIST5k", "Folder:/a:b/c"])
    assert args.data == [("CUB200", "/data/cub", 25), ("MNIST5k", None, None), ("Folder", "/a:b/c", None)]

"""Cross-validation as a user runs it: folds without shared groups, their table, and the fold that test.py evaluates."""

import csv
import json

import pytest

import hubconf
from dataset.held_out import picture_names
from tools import checkpoint

FLAGS = (
    "--dataset Folder --model test_resnet --pre_trained false --freeze_layers 0 --out_stage 2 --img_size 32 "
    "--num_workers 0 --device cpu --attention qknorm --slots_per_class 1 --batch_size 4 --epochs 1 --lr 1e-3"
)
RUN = "Folder_use_slot_checkpoint.pth"


@pytest.fixture
def photos(tmp_path, picture_writer):
    """Twelve pictures of six patients, and the table of the patients."""
    lines = ["file,group"]
    for number in range(12):
        name = f"{'ab'[number % 2]}/{number}.png"
        picture_writer(tmp_path / "photos" / name, colour=(20 * number, 90, 30))
        lines.append(f"{name},patient {number // 2}")
    (tmp_path / "groups.csv").write_text("\n".join(lines))
    return tmp_path / "photos"


def test_each_patient_is_held_out_once_and_test_evaluates_the_fold(scripts, fails, photos, tmp_path):
    flags = f"{FLAGS} --dataset_dir {photos} --folds 3 --groups {tmp_path}/groups.csv --output_dir {tmp_path}/runs"
    code, out, err = scripts("train", f"{flags} --checkpoint_metric balanced_accuracy --val_ratio 0.5")
    assert code == 0 and "--val_ratio is ignored: a fold of --folds validates" in err, err
    with (tmp_path / "runs" / "sweep.csv").open() as file:
        (row,) = csv.DictReader(file)
    folds = [json.loads((tmp_path / "runs" / f"fold={fold}" / "done.json").read_text()) for fold in (1, 2, 3)]
    assert row["runs"] == "3" and "fold" not in row
    assert float(row["val_top1"]) == pytest.approx(sum(record["val_top1"] for record in folds) / 3)
    assert "val_balanced_accuracy_std" in row
    held_out = [checkpoint.load(tmp_path / "runs" / f"fold={fold}" / RUN)["data_config"]["cross_validation"]["held_out"]
                for fold in (1, 2, 3)]  # fmt: skip
    patients = [{int(name[2:-4]) // 2 for name in names} for names in held_out]
    assert [len(names) for names in held_out] == [4, 4, 4] and set.union(*patients) == set(range(6))
    assert all(len(own) == 2 for own in patients)

    (tmp_path / "groups.csv").unlink()
    path = tmp_path / "runs" / "fold=2" / RUN
    test = f"--checkpoint {path} --device cpu --num_workers 0 --predictions true --val_ratio 0.5"  # a fold has its own
    code, out, err = scripts("test", test)
    assert code == 0 and "fold 2 of 3" in out, err
    with path.with_name("predictions.csv").open() as file:
        files = [line["file"].removeprefix(f"{photos}/") for line in csv.DictReader(file)]
    assert sorted(files) == sorted(held_out[1])
    assert json.loads(path.with_name("results.json").read_text())["top1"] == pytest.approx(folds[1]["val_top1"])

    one = f"{FLAGS} --dataset_dir {photos} --folds 3 --output_dir {tmp_path}/runs/fold=2 --epochs 2"
    assert "--fold 1 of 3, but the checkpoint held out fold 2 of 3" in fails("train", f"{one} --fold 1 --resume auto")
    code, out, err = scripts("train", f"{one} --fold 2 --resume auto")  # the held-out pictures are those of before
    assert code == 0 and "epoch 2/2" in out, err
    assert checkpoint.load(path)["data_config"]["cross_validation"]["held_out"] == held_out[1]


@pytest.mark.parametrize(
    ("script", "flags", "message"),
    [
        ("train", "--fold 2", "argument --fold: it needs the number of folds, such as --folds 5"),
        ("train", "--groups x.csv", "argument --groups: it needs the number of folds"),
        ("train", "--folds 3 --fold 4", "argument --fold: there are folds 1 to 3, not 4"),
        ("test", "--folds 3", "argument --folds: the checkpoint says which fold"),
    ],
)
def test_flags_of_folds_that_do_not_fit_are_one_line(fails, script, flags, message):
    assert message in fails(script, flags)


@pytest.mark.parametrize("ratio", ["", "--val_ratio 0.2"])
def test_pictures_that_are_added_later_do_not_change_what_a_run_validates_on(
    scripts, photos, picture_writer, tmp_path, ratio
):
    flags = f"{FLAGS} --dataset_dir {photos} {ratio} --output_dir {tmp_path}/run"
    assert scripts("train", flags)[0] == 0
    path = tmp_path / "run" / RUN
    held_out = checkpoint.load(path)["data_config"]["held_out"]
    assert len(held_out) == 2  # a fifth of six pictures of each class
    for number in range(7):
        picture_writer(photos / "a" / f"new{number}.png")
    code, out, err = scripts("test", f"--checkpoint {path} {ratio} --device cpu --num_workers 0 --predictions true")
    assert code == 0 and "the training held out" not in err, err
    with path.with_name("predictions.csv").open() as file:
        assert sorted(line["file"].removeprefix(f"{photos}/") for line in csv.DictReader(file)) == sorted(held_out)
    with_names = hubconf.trained(path).load_split("Folder", dataset_dir=str(photos), num_classes=2, img_size=(32, 32))
    assert sorted(picture_names(with_names.listing, photos)) == sorted(held_out)
    code, out, err = scripts("train", f"{flags} --epochs 2 --resume auto")
    assert code == 0 and "17 training" in out.replace(",", ""), out
    assert checkpoint.load(path)["data_config"]["held_out"] == held_out

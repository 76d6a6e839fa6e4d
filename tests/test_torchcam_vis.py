import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import torchcam_vis

NAME = "MNIST5k_no_slot_checkpoint.pth"
FAST = "--device cpu --num_workers 0 --smooth_samples 1 --ss_samples 1 --is_samples 1 --ig_steps 4 --rise_masks 20 "
FAST += "--extremal_steps 3 --igos_steps 2 --igos_ig_steps 2"
SCORES = "--metric_steps 5 --infidelity_samples 3 --sensitivity_samples 1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, as_user, tiny_module):
    """A plain classifier and, beside it, a positive and a negative slot model of two classes."""
    place = tmp_path_factory.mktemp("plain")
    for extra in ("--use_slot false", "--loss_status 1", "--loss_status -1"):
        done = as_user(f"python train.py {tiny_module} {extra} --epochs 1 --output_dir {place}")
        assert done.returncode == 0, done.stderr
    return place


def test_every_method_and_class_is_drawn_and_compared(scripts, folder, tmp_path):
    code, out, err = scripts("torchcam_vis", f"--checkpoint {folder}/{NAME} {FAST} --vis_id 3 --vis_dir {tmp_path}")
    assert code == 0, err
    from engine.explain.attribution.settings import METHOD_NAMES as METHODS

    files = {path.name for path in (tmp_path / "3").iterdir()}
    assert files == {"methods.png"} | {f"{m}_{c}{end}.png" for m in METHODS for c in (0, 1) for end in ("", "_mask")}
    mask = np.asarray(Image.open(tmp_path / "3" / "GradCAM_0_mask.png"))
    assert mask.dtype == np.uint8 and mask.ndim == 2 and mask.min() == 0 and mask.max() in (0, 255)
    width, height = Image.open(tmp_path / "3" / "methods.png").size
    assert height > 2 * width  # 16 methods and two slot models below each other
    assert "completeness gap" in out and "maps of 16 methods for 2 classes of 1 picture(s)" in out


def test_methods_and_classes_can_be_chosen(scripts, folder, tmp_path):
    flags = f"--checkpoint {folder}/{NAME} {FAST} --methods RISE,CAM --classes 1 --vis_dir {tmp_path} --vis_id 0-1"
    assert scripts("torchcam_vis", f"{flags} --vis_format jpg")[0] == 0
    for number in ("0", "1"):
        files = {path.name for path in (tmp_path / number).iterdir()}
        assert files == {"methods.jpg", "CAM_1.jpg", "CAM_1_mask.png", "RISE_1.jpg", "RISE_1_mask.png"}


def test_the_figure_has_a_column_for_each_of_the_most_likely_classes(folder, tmp_path, monkeypatch):
    assert torchcam_vis.most_likely([4, 0, 3, 1], torch.tensor([0.3, 0.1, 0.0, 0.2, 0.4]), 2) == [0, 1]  # classes 4, 0
    assert torchcam_vis.most_likely([1, 0], torch.tensor([0.3, 0.7]), 20) == [0, 1]
    widths = []
    for columns in (20, 1):
        monkeypatch.setattr(torchcam_vis, "FIGURE_CLASSES", columns)
        flags = f"--checkpoint {folder}/{NAME} {FAST} --methods CAM --vis_dir {tmp_path} --vis_id 0"
        monkeypatch.setattr("sys.argv", ["torchcam_vis.py", *flags.split()])
        torchcam_vis.main()
        assert {path.name for path in (tmp_path / "0").iterdir()} >= {"CAM_0.png", "CAM_1.png"}
        widths.append(Image.open(tmp_path / "0" / "methods.png").width)
    assert widths[0] > widths[1]


def test_grad_min_level_makes_the_map_smaller(scripts, folder, tmp_path):
    flags = f"--checkpoint {folder}/{NAME} {FAST} --methods GradCAM --classes 0"
    for level in ("0", "0.5"):
        assert scripts("torchcam_vis", f"{flags} --grad_min_level {level} --vis_dir {tmp_path / level}")[0] == 0
    low, high = (np.asarray(Image.open(tmp_path / x / "0" / "GradCAM_0_mask.png")).astype(int) for x in ("0", "0.5"))
    assert (high[low < 127] == 0).all() and high.max() == low.max() and high.sum() < low.sum()


def test_own_pictures_need_no_data(scripts, folder, tmp_path, picture_writer):
    picture_writer(tmp_path / "mine.png")
    flags = f"--checkpoint {folder}/{NAME} {FAST} --methods CAM --dataset_dir /nowhere --image {tmp_path / 'mine.png'}"
    code, out, _ = scripts("torchcam_vis", f"{flags} --vis_dir {tmp_path / 'out'}")
    assert code == 0 and "picture mine: predicted" in out and (tmp_path / "out" / "mine" / "CAM_1.png").is_file()


def test_scores_make_one_table_that_grows(scripts, folder):
    first = f"--checkpoint {folder}/{NAME} {FAST} {SCORES} --explain_metrics true --metric_images 4"
    code, out, err = scripts("torchcam_vis", f"{first} --methods GradCAM,SSCAM")
    assert code == 0, err
    assert "Score" not in out and "vis" not in {path.name for path in folder.iterdir()}  # nothing is drawn
    assert scripts("torchcam_vis", f"{first} --methods GradCAM,Occlusion --metric_images 6")[0] == 0
    slot = folder / "MNIST5k_use_slot_negative_checkpoint.pth"
    flags = f"--device cpu --num_workers 0 {SCORES} --explain_metrics true --metric_images 4"
    code, out, err = scripts("test", f"--checkpoint {slot} {flags}")
    assert code == 0, err
    assert "the least similar one by the backbone's features, 0 -> 1, 1 -> 0" in out
    rows = {row["method"]: row for row in json.loads((folder / "metrics.json").read_text())["rows"]}
    assert list(rows) == ["SSCAM", "GradCAM", "Occlusion", "SCOUTER- lambda 1 (qknorm)"]
    assert [row["images"] for row in rows.values()] == [4, 6, 6, 4]
    assert "sensitivity" not in rows["SSCAM"] and rows["GradCAM"]["settings"]["steps"] == 5
    assert (
        "iauc_true" in rows["SCOUTER- lambda 1 (qknorm)"] and "precision" not in rows["GradCAM"]
    )  # MNIST has no boxes
    for row in rows.values():
        assert 0 <= row["area"] <= 1 and row["intervals"]["iauc"][0] <= row["iauc"] <= row["intervals"]["iauc"][1]
    with (folder / "metrics.csv").open() as file:
        assert [line["method"] for line in csv.DictReader(file)] == list(rows)
    assert Image.open(folder / "metrics.png").size[0] > 400


def test_several_tables_become_one(folder, as_user, tmp_path):
    for name, method in (("a", "GradCAM"), ("b", "CAM")):
        row = {"checkpoint": "x.pth", "method": method, "images": 2, "area": 0.25, "intervals": {"area": [0.2, 0.3]}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({"rows": [row]}))
    done = as_user(f"python -m studies.compare {tmp_path}/a {tmp_path}/b/metrics.json --output_dir {tmp_path}/all")
    assert done.returncode == 0, done.stderr
    assert "0.2500 ±0.050" in done.stdout
    rows = json.loads((tmp_path / "all" / "metrics.json").read_text())["rows"]
    assert [(row["method"], row["checkpoint"]) for row in rows] == [("GradCAM", "../a/x.pth"), ("CAM", "../b/x.pth")]
    done = as_user(f"python -m studies.compare {tmp_path}/none")
    assert done.returncode == 2 and "Traceback" not in done.stderr and "none cannot be read" in done.stderr


def test_a_table_that_cannot_be_read_is_not_overwritten(fails, folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    (place / "metrics.json").write_text("{rows: [")
    flags = f"--checkpoint {place}/{NAME} {FAST} {SCORES} --explain_metrics true --metric_images 2 --methods CAM"
    assert "metrics.json is not a metrics.json of this program" in fails("torchcam_vis", flags)
    slot = f"--checkpoint {place}/MNIST5k_use_slot_checkpoint.pth --device cpu --num_workers 0"
    assert "metrics.json is not a metrics.json" in fails("test", f"{slot} --explain_metrics true --metric_images 2")
    assert (place / "metrics.json").read_text() == "{rows: ["


def test_another_layer_is_another_row(scripts, folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    flags = f"--checkpoint {place}/{NAME} {FAST} {SCORES} --explain_metrics true --methods GradCAM"
    (place / "metrics.json").unlink(missing_ok=True)
    assert scripts("torchcam_vis", f"{flags} --metric_images 4")[0] == 0
    assert scripts("torchcam_vis", f"{flags} --metric_images 2 --cam_layer layer1")[0] == 0
    _, _, err = scripts("torchcam_vis", f"{flags} --metric_images 3")
    assert "GradCAM: a row of 3 pictures replaces one of 4" in err
    rows = json.loads((place / "metrics.json").read_text())["rows"]
    assert [(row["cam_layer"], row["images"]) for row in rows] == [("layer1", 2), (None, 3)]
    assert rows[0]["method_settings"]["rise_p"] == 0.5 and rows[0]["img_size"]


@pytest.mark.parametrize("content", ['{"rows": []}', '{"rows": {}}', '{"rows": [{"method": "a", "area": null}]}'])
def test_empty_tables_are_one_line(as_user, tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    done = as_user(f"python -m studies.compare {tmp_path}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert as_user(f"python -m studies.compare {tmp_path} --output_dir {tmp_path}").returncode == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--report .", "--report . is a folder"),
        ("--vis true --classes zebra", "--classes zebra: the model has no such class"),
    ],
)
def test_flags_that_would_fail_after_the_evaluation_fail_before_it(fails, scripts, folder, flags, message):
    common = f"--checkpoint {folder}/MNIST5k_use_slot_checkpoint.pth --device cpu --num_workers 0"
    assert message in fails("test", f"{common} {flags}")


def test_without_data_own_pictures_are_drawn_by_the_methods_that_need_none(scripts, folder, tmp_path, picture_writer):
    picture_writer(tmp_path / "mine.png")
    flags = (
        f"--checkpoint {folder}/{NAME} {FAST} --dataset MNIST --dataset_dir /nowhere --image {tmp_path / 'mine.png'}"
    )
    code, out, err = scripts("torchcam_vis", f"{flags} --vis_dir {tmp_path / 'out'} --classes 1")
    assert code == 0 and "IBA is left out" in err and "maps of 15 methods" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--methods GradCam", "argument --methods: 'GradCam' is none of CAM, GradCAM"),
        ("--cam_layer layer9", "unknown layer 'layer9'"),
        ("--classes 7", "--classes 7: the model has no such class"),
        ("--vis_id 5000", "--vis_id 5000: the split has pictures 0 to"),
        ("--model resnet50", "--model resnet50, but the checkpoint has test_resnet"),
    ],
)
def test_wrong_input_is_one_line(fails, folder, flags, message):
    assert message in fails("torchcam_vis", f"--checkpoint {folder}/{NAME} {FAST} {flags}")


def test_a_slot_model_is_refused_in_favour_of_test_py(fails, folder):
    slot = folder / "MNIST5k_use_slot_checkpoint.pth"
    assert "is a slot model, which explains itself: python test.py" in fails("torchcam_vis", f"--checkpoint {slot}")


def test_a_missing_plain_classifier_is_one_line(fails, tmp_path):
    line = fails("torchcam_vis", f"--dataset MNIST --output_dir {tmp_path}")
    assert "MNIST_no_slot_checkpoint.pth: no such file; train.py --use_slot false writes it" in line


def test_the_report_holds_pictures_of_both_signs(scripts, folder, tmp_path):
    file = tmp_path / "new" / "report.html"
    flags = f"--checkpoint {folder}/MNIST5k_use_slot_checkpoint.pth --device cpu --num_workers 0"
    code, out, err = scripts("test", f"{flags} --report {file} --vis_id 0-4")
    assert code == 0, err
    text = file.read_text()
    assert f"report of 5 picture(s): {file}" in out
    assert text.count("<article") == 5 and "against the class" in text and "for the class" in text


def test_all_metrics_of_methods_and_of_slot_maps(scripts, folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    (place / "metrics.json").unlink(missing_ok=True)
    flags = f"--device cpu --num_workers 0 {SCORES} --metrics all --metric_images 5 --grid_mosaics 2"
    methods = "--methods CAM,IntegratedGradients,IBA --ig_steps 4"
    code, out, err = scripts("torchcam_vis", f"--checkpoint {place}/{NAME} {flags} {methods}")
    assert code == 0, err
    assert "grid_2x2 is left out: it needs pictures of 4 classes that are classified right, and there are" in err
    slot = place / "MNIST5k_use_slot_checkpoint.pth"
    code, shown, err = scripts("test", f"--checkpoint {slot} {flags} --map evidence")
    assert code == 0, err
    rows = {row["method"].split()[0]: row for row in json.loads((place / "metrics.json").read_text())["rows"]}
    new = {"random_head", "mprt", "road", "average_drop", "increase", "gini", "entropy", "stability_shift"}
    for row in rows.values():
        assert new | {"stability_jpeg"} <= set(row) and row["images"] == 5 and "auc" not in row
        assert set(row["intervals"]) <= set(row)
    assert "completeness" not in rows["CAM"] and "completeness" not in rows["IBA"]
    assert rows["SCOUTER+"]["completeness"] < 1e-6 < rows["IntegratedGradients"]["completeness"] < 1
    for title in ("class and on the model (better: random_head near 0; mprt large)", "effect on the prediction"):
        assert title in out and title in shown

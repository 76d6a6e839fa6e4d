"""Features of a study: what they are kept under, and pictures and sets at the edge."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dataset import Listing
from dataset.registry import build_dataset
from sloter.backbone import create_backbone
from studies.head_study.__main__ import as_json
from studies.head_study.content import data_fingerprint, weights_fingerprint
from studies.head_study.features import Features, compute_features, load, save
from studies.head_study.sources import Joined, Pictures
from studies.head_study.train import FeatureLoader, Setting, train_head

CPU = torch.device("cpu")


def features(count, *, num_classes=2, boxes=None, seed=0):
    maps = torch.rand(count, 16, 6, generator=torch.manual_seed(seed)).half()
    return Features(maps, torch.arange(count) % num_classes, boxes, (4, 4), (32, 32), num_classes)


def folder(path):
    for name, value in (("a", 10), ("b", 200)):
        (path / "train" / name).mkdir(parents=True)
        (path / "val" / name).mkdir(parents=True)
        for split in ("train", "val"):
            Image.fromarray(np.full((20, 20, 3), value, np.uint8)).save(path / split / name / "0.png")
    return path


def content(path):
    return Pictures(build_dataset("Folder", "train", dataset_dir=str(path), num_classes=None, img_size=(8, 8))).content


def test_data_changed_in_place_have_another_fingerprint(tmp_path):
    before = content(folder(tmp_path))
    assert content(tmp_path) == before
    file = tmp_path / "train" / "a" / "0.png"
    Image.fromarray(np.full((20, 20, 3), 11, np.uint8)).save(file)
    os.utime(file, ns=(1, 1))  # of another time, be the size what it may
    changed = content(tmp_path)
    file.rename(tmp_path / "train" / "b" / "1.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "train" / "a" / "2.png")
    assert len({before, changed, content(tmp_path)}) == 3


def test_boxes_are_part_of_the_fingerprint_and_so_is_the_content_of_their_files(tmp_path):
    def found(box):
        return data_fingerprint(SimpleNamespace(listing=Listing(np.zeros((1, 2, 2), np.uint8), [0], ["a"], [box])))

    file = tmp_path / "a.xml"
    file.write_text("<annotation/>")
    before = found(file)
    assert found(file) == before
    file.write_text("<annotation></annotation>")
    assert len({before, found(file), found(None), found("no file"), found((1.0, 2.0, 3.0, 4.0))}) == 5
    assert found((1.0, 2.0, 3.0, 4.0)) != found((1.0, 2.0, 3.0, 5.0))


def test_labels_and_pixels_are_part_of_the_fingerprint():
    data = build_dataset("MNIST5k", "val", dataset_dir=None, num_classes=2, img_size=(8, 8))
    found = {Pictures(data).content}
    data.listing.labels[0] = 1 - data.listing.labels[0]
    found.add(Pictures(data).content)
    data.listing.pictures[0] = data.listing.pictures[0] ^ 1
    found.add(Pictures(data).content)
    assert len(found) == 3 and Joined([Pictures(data)] * 2).content.split() == [Pictures(data).content] * 2


def test_other_weights_have_another_fingerprint():
    model = create_backbone("test_resnet", num_classes=0, in_chans=3, img_size=(32, 32))
    before = weights_fingerprint(model)
    assert weights_fingerprint(model) == before
    with torch.no_grad():
        model.bn1.running_mean[0] += 1  # a buffer counts, too
    assert weights_fingerprint(model) != before


def test_a_set_smaller_than_a_batch_is_one_batch():
    small = FeatureLoader(features(5), batch_size=32, shuffle=True, seed=0, device=CPU)
    assert len(small) == 1 and sorted(next(iter(small)).numbers.tolist()) == [0, 1, 2, 3, 4]
    assert len(FeatureLoader(features(70), batch_size=32, shuffle=True, seed=0, device=CPU)) == 2
    _, metrics = train_head(features(5), features(4), Setting("linear", epochs=1), CPU)
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("head", ["linear", "direct"])
def test_a_single_class_has_finite_metrics(head):
    data = features(6, num_classes=1)
    _, metrics = train_head(data, data, Setting(head, epochs=1, batch_size=4, changes={}), CPU)
    assert metrics["top1"] == 1 and "alike" not in metrics
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_picture_without_box_is_left_out_of_the_precision(tmp_path):
    whole, none = torch.tensor([[0.0, 0.0, 32.0, 32.0]]), torch.zeros(0, 4)
    data = features(4, boxes=[whole, none, whole, none])
    save(tmp_path / "f.safetensors", data)
    data = load(tmp_path / "f.safetensors")
    assert [len(box) for box in data.boxes] == [1, 0, 1, 0]
    _, metrics = train_head(data, data, Setting("baseline", epochs=1, batch_size=2), CPU)
    assert metrics["precision"] == pytest.approx(1)  # of the two with a box, which is the whole picture


@pytest.mark.parametrize(("given", "kept"), [((True, False), [1, 0]), ((False, False), None)])
def test_pictures_with_and_without_boxes_are_collected(given, kept):
    class Source:
        labels, num_classes, img_size, content = [0, 1], 2, (32, 32), ""

        def pixels(self, index):
            return torch.full((3, 32, 32), 9, dtype=torch.uint8)

        def boxes(self, index):
            return torch.ones(1, 4) if given[index] else None if index else torch.zeros(0, 4)

    model = create_backbone("test_resnet", num_classes=0, in_chans=3, img_size=(32, 32))
    statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    found = compute_features(model, Source(), statistics=statistics, batch_size=2, device=CPU).boxes
    assert (found and [len(box) for box in found]) == kept


def test_json_has_null_in_place_of_what_it_cannot_hold():
    rows = {"runs": [{"head": "x", "area": float("nan"), "loss": float("inf"), "top1": 0.5, "seed": 1}]}
    assert json.loads(as_json(rows), parse_constant=pytest.fail) == {
        "runs": [{"head": "x", "area": None, "loss": None, "top1": 0.5, "seed": 1}]
    }

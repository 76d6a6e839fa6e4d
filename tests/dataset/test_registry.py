import logging

import numpy as np
import pytest
from PIL import Image

from dataset import DataError
from dataset.mnist import list_mnist5k
from dataset.registry import DATASETS, build_dataset


def build(name="Folder", split="train", **options):
    return build_dataset(name, split, **{"dataset_dir": None, "num_classes": None, "img_size": (20, 24), **options})


@pytest.fixture
def folder(tmp_path, picture_writer):
    for split, counts in (("train", (3, 2, 2)), ("val", (1, 1, 2))):
        for name, count in zip(("ant", "bee", "cat"), counts, strict=True):
            for i in range(count):
                picture_writer(tmp_path / split / name / f"{i}.png")
    (tmp_path / "train" / "ant" / ".hidden.png").write_text("not a picture")
    (tmp_path / "train" / ".cache").mkdir()
    return tmp_path


@pytest.fixture
def cub(tmp_path, picture_writer):
    names = ["001.Black_Swan", "002.Blue_Jay", "003.Red_Kite"]
    rows = [(1, 0, 1), (2, 0, 0), (3, 1, 1), (4, 1, 0), (5, 2, 1), (6, 2, 0)]
    for key, label, _ in rows:
        picture_writer(tmp_path / "images" / names[label] / f"p_{key}.jpg")
    write = lambda name, lines: (tmp_path / name).write_text("\n".join(lines) + "\n")  # noqa: E731
    write("classes.txt", [f"{i + 1} {name}" for i, name in enumerate(names)])
    write("images.txt", [f"{key} {names[label]}/p_{key}.jpg" for key, label, _ in rows])
    write("image_class_labels.txt", [f"{key} {label + 1}" for key, label, _ in rows])
    write("train_test_split.txt", [f"{key} {train}" for key, _, train in rows])
    return tmp_path


def test_mnist5k_is_a_fixed_stratified_split():
    train, val = list_mnist5k(None, "train"), list_mnist5k(None, "val")
    assert np.bincount(train.labels).tolist() == [400] * 10 and np.bincount(val.labels).tolist() == [100] * 10
    assert val.labels[:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert train.pictures.shape == (4000, 28, 28) and train.pictures.dtype == np.uint8
    assert not {p.tobytes() for p in train.pictures} & {p.tobytes() for p in val.pictures}


def test_mnist5k_holds_the_digits_it_says(real_data):
    full = build("MNIST", dataset_dir=str(real_data / "mnist"), num_classes=10).listing
    ours = list_mnist5k(None, "train")
    first = {c: full.pictures[np.flatnonzero(np.array(full.labels) == c)[:400]] for c in range(10)}
    for c in range(10):
        assert np.array_equal(ours.pictures[np.array(ours.labels) == c], first[c])


def test_mnist_takes_the_first_classes(real_data):
    data = build("MNIST", "val", dataset_dir=str(real_data / "mnist"), num_classes=3, img_size=(56, 56))
    assert sorted(set(data.listing.labels)) == [0, 1, 2] and len(data) == 980 + 1135 + 1032
    assert data[0].image.shape == (1, 56, 56)


def test_a_folder_of_class_folders(folder):
    data = build(dataset_dir=str(folder))
    assert len(data) == 7 and data.num_classes == 3 and data.class_names == ["ant", "bee", "cat"]
    sample = data[3]
    assert sample.image.shape == (3, 20, 24) and sample.label == 1 and data.name(3).endswith("bee/0.png")
    assert len(build(split="val", dataset_dir=str(folder))) == 4


def test_more_outputs_than_categories_is_told_and_fewer_is_an_error(folder, caplog):
    with caplog.at_level(logging.WARNING):
        data = build(dataset_dir=str(folder), num_classes=5)
    assert "num_classes 5" in caplog.text and "has 3 categories" in caplog.text
    assert data.num_classes == 5 and data.class_names == ["ant", "bee", "cat", "3", "4"]
    with pytest.raises(DataError, match="--num_classes 2: Folder has 3 categories here; give at least that many"):
        build(dataset_dir=str(folder), num_classes=2)


def test_cub200_in_its_own_layout(cub):
    data = build("CUB200", dataset_dir=str(cub), num_classes=2)
    assert data.listing.labels == [0, 1] and data.class_names == ["Black Swan", "Blue Jay"]
    assert [p.name for p in data.listing.pictures] == ["p_1.jpg", "p_3.jpg"]
    with pytest.raises(DataError, match="--num_classes 4: CUB200 has 3 classes here; give at most that many"):
        build("CUB200", dataset_dir=str(cub), num_classes=4)


def test_real_cub200(real_data):
    train, val = (build("CUB200", split, dataset_dir=str(real_data / "CUB_200_2011")) for split in ("train", "val"))
    assert (len(train), len(val), train.num_classes) == (750, 652, 25)
    assert train.class_names[0] == "Black footed Albatross" and train[0].image.shape == (3, 20, 24)


def test_imagenet_by_sorted_wnids_and_with_their_names(tmp_path, picture_writer):
    for split in ("train", "val"):
        for wnid in ("n01443537", "n01440764", "n99999999"):
            picture_writer(tmp_path / split / wnid / "a.JPEG")
    data = build("ImageNet", "val", dataset_dir=str(tmp_path), num_classes=2)
    assert data.class_names == ["tench", "goldfish"]
    assert [p.parent.name for p in data.listing.pictures] == ["n01440764", "n01443537"]


def test_context_is_split_as_scikit_learn_splits(tmp_path, picture_writer):
    for i in range(13):
        picture_writer(tmp_path / f"{'Cafe' if i < 8 else 'Bank'}_{i:02}.jpg")
    # What scikit-learn 1.9.1 answers to train_test_split(range(13), random_state=1, train_size=0.8);
    # sorted, the files are Bank_08..12, Cafe_00..07.
    expected_train, expected_val = [10, 1, 6, 0, 7, 12, 9, 8, 11, 5], [2, 3, 4]
    files = sorted(tmp_path.iterdir())
    train, val = (build("ConText", split, dataset_dir=str(tmp_path)) for split in ("train", "val"))
    assert train.listing.pictures == [files[i] for i in expected_train]
    assert val.listing.pictures == [files[i] for i in expected_val]
    assert val.class_names == ["Bank", "Cafe"] and val.listing.labels == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("Mnist5K", {}, "unknown dataset 'Mnist5K': did you mean MNIST5k"),
        ("photos", {}, "choose one of MNIST, MNIST5k, ImageNet"),
        ("CUB200", {}, "--dataset CUB200 needs --dataset_dir"),
        ("CUB200", {"dataset_dir": "/no/such/place"}, "--dataset_dir /no/such/place: no such folder"),
        ("MNIST5k", {"num_classes": 11}, "--num_classes 11: MNIST5k has 10 classes"),
    ],
)
def test_what_cannot_be_had_is_said(name, options, told):
    with pytest.raises(DataError, match=told) as caught:
        build(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["CUB200", "ImageNet", "ConText", "Folder"])
def test_an_empty_folder_is_said(name, tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        build(name, dataset_dir=str(tmp_path))


def test_mnist_that_cannot_be_downloaded_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        build("MNIST", dataset_dir=str(tmp_path))
    assert "MNIST5k" in str(caught.value) and "\n" not in str(caught.value)


def test_every_dataset_has_statistics_for_its_channels():
    for spec in DATASETS.values():
        assert len(spec.mean) == len(spec.std) == spec.in_chans


def test_a_picture_is_resized_without_keeping_its_aspect(folder):
    wide = folder / "train" / "ant" / "0.png"
    Image.fromarray(np.full((10, 200, 3), 7, np.uint8)).save(wide)
    assert (build(dataset_dir=str(folder))[0].image == 7).all()

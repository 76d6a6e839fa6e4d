import logging

import numpy as np
import pytest
import torch
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
    # the pictures are 40 x 30: this box begins left of them and ends below
    write("bounding_boxes.txt", [f"{key} -5.0 10.0 25.0 100.0" for key, _, _ in rows])
    return tmp_path


def test_mnist5k_is_a_fixed_stratified_split():
    train, val = list_mnist5k(None, "train"), list_mnist5k(None, "val")
    assert np.bincount(train.labels).tolist() == [400] * 10 and np.bincount(val.labels).tolist() == [100] * 10
    assert val.labels[:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert train.pictures.shape == (4000, 28, 28) and train.pictures.dtype == np.uint8
    assert not {p.tobytes() for p in train.pictures} & {p.tobytes() for p in val.pictures}


def test_mnist5k_has_the_first_digits_of_mnist(real_data):
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
    assert sample.image.shape == (3, 20, 24) and sample.label == 1 and data.path(3).endswith("bee/0.png")
    assert len(build(split="val", dataset_dir=str(folder))) == 4


def test_more_outputs_than_categories_are_reported_and_fewer_are_an_error(folder, caplog):
    with caplog.at_level(logging.WARNING):
        data = build(dataset_dir=str(folder), num_classes=5)
    assert "--num_classes 5, but Folder" in caplog.text and "has 3 categories" in caplog.text
    assert data.num_classes == 5 and data.class_names == ["ant", "bee", "cat", "3", "4"]
    message = "--num_classes 2: Folder has 3 categories here; leave the flag out, or give 3 or more"
    with pytest.raises(DataError, match=message):
        build(dataset_dir=str(folder), num_classes=2)


def test_cub200_in_its_own_layout(cub):
    data = build("CUB200", dataset_dir=str(cub), num_classes=2)
    assert data.listing.labels == [0, 1] and data.class_names == ["Black Swan", "Blue Jay"]
    assert [p.name for p in data.listing.pictures] == ["p_1.jpg", "p_3.jpg"]
    # 20 of 40 pixels wide and 20 of 30 high, in pictures of 24 x 20
    torch.testing.assert_close(data.boxes(0), torch.tensor([[0.0, 20 / 3, 12.0, 20.0]]))
    with pytest.raises(DataError, match="--num_classes 4: CUB200 has 3 classes here; give 3 or fewer"):
        build("CUB200", dataset_dir=str(cub), num_classes=4)


def test_real_cub200(real_data):
    train, val = (build("CUB200", split, dataset_dir=str(real_data / "CUB_200_2011")) for split in ("train", "val"))
    assert (len(train), len(val), train.num_classes) == (750, 652, 25)
    assert train.class_names[0] == "Black footed Albatross" and train[0].image.shape == (3, 20, 24)
    for index in range(0, 652, 50):
        (box,) = val.boxes(index).tolist()
        assert 0 <= box[0] < box[2] <= 24 and 0 <= box[1] < box[3] <= 20


def test_cub200_without_a_line_is_an_error(cub):
    lines = (cub / "images.txt").read_text().splitlines()
    (cub / "images.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(DataError, match=r"images.txt has no line for picture 1"):
        build("CUB200", dataset_dir=str(cub))


def test_cub200_with_class_ids_that_do_not_count_from_one(cub):
    names = ["2 002.Black_Swan", "3 003.Kite", "5 005.Kite"]
    (cub / "classes.txt").write_text("\n".join(reversed(names)) + "\n")
    lines = (cub / "image_class_labels.txt").read_text().split("\n")[:-1]
    ids = {"1": "2", "2": "3", "3": "5"}
    (cub / "image_class_labels.txt").write_text("\n".join(f"{k} {ids[c]}" for k, c in map(str.split, lines)) + "\n")
    data = build("CUB200", dataset_dir=str(cub))
    assert data.listing.labels == [0, 1, 2] and data.class_names == ["Black Swan", "Kite (3)", "Kite (5)"]
    (cub / "classes.txt").write_text("\n".join(names[:2]) + "\n")
    with pytest.raises(DataError, match=r"image_class_labels\.txt, line 5: class 5 is not in .*classes\.txt"):
        build("CUB200", dataset_dir=str(cub))


def test_cub200_without_a_picture_is_an_error(cub):
    (cub / "images" / "001.Black_Swan" / "p_1.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 3 pictures cannot be used: .*p_1.jpg \(No such file or directory\)"):
        build("CUB200", dataset_dir=str(cub))


def test_imagenet_by_sorted_wnids_and_with_their_names(tmp_path, picture_writer):
    for split in ("train", "val"):
        for wnid in ("n01443537", "n01440764", "n99999999"):
            picture_writer(tmp_path / split / wnid / "a.JPEG")
    data = build("ImageNet", "val", dataset_dir=str(tmp_path), num_classes=2)
    assert data.class_names == ["tench", "goldfish"]
    assert [p.parent.name for p in data.listing.pictures] == ["n01440764", "n01443537"]


VOC = """<annotation><size><width>80</width><height>60</height></size>
<object><bndbox><xmin>20</xmin><ymin>0</ymin><xmax>60</xmax><ymax>30</ymax></bndbox></object>
<object><bndbox><xmin>0</xmin><ymin>30</ymin><xmax>90</xmax><ymax>60</ymax></bndbox></object></annotation>"""


@pytest.fixture
def ilsvrc(tmp_path, picture_writer):
    """Layout of the download: a flat val, the solution above it, the boxes beside it."""
    data = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    for wnid in ("n01443537", "n01440764", "n01484850"):
        picture_writer(data / "train" / wnid / f"{wnid}_1.JPEG")
    wnids = ["n01484850", "n01440764", "n01443537", "n01440764"]
    rows = ["ImageId,PredictionString"]
    annotations = tmp_path / "ILSVRC" / "Annotations" / "CLS-LOC" / "val"
    annotations.mkdir(parents=True)
    for i, wnid in enumerate(wnids):
        name = f"ILSVRC2012_val_{i:08}"
        picture_writer(data / "val" / f"{name}.JPEG")
        rows.append(f"{name},{wnid} 1 2 3 4 {wnid} 5 6 7 8")
        (annotations / f"{name}.xml").write_text(VOC)
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(rows) + "\n")
    return data


def test_imagenet_with_a_flat_validation_folder(ilsvrc):
    data = build("ImageNet", "val", dataset_dir=str(ilsvrc), num_classes=2)
    assert data.class_names == ["tench", "goldfish"] and data.listing.labels == [0, 1, 0]
    assert [p.stem[-1] for p in data.listing.pictures] == ["1", "2", "3"]
    # of 80 x 60 to 24 x 20; the second box overruns its picture
    expected = torch.tensor([[6.0, 0.0, 18.0, 10.0], [0.0, 10.0, 24.0, 20.0]])
    torch.testing.assert_close(data.boxes(0), expected)


def test_imagenet_with_a_flat_validation_folder_and_no_solution_is_an_error(ilsvrc):
    (ilsvrc.parents[2] / "LOC_val_solution.csv").unlink()
    with pytest.raises(DataError, match=r"has neither class folders nor a LOC_val_solution.csv"):
        build("ImageNet", "val", dataset_dir=str(ilsvrc))


def test_real_imagenet_and_its_boxes(real_data):
    place = str(real_data / "imagenet/ILSVRC/Data/CLS-LOC")
    val = build("ImageNet", "val", dataset_dir=place, num_classes=10, img_size=(112, 224))
    assert len(val) == 500 and val.num_classes == 10
    for index in range(0, 500, 25):
        boxes = val.boxes(index)
        assert len(boxes) >= 1 and (boxes[:, 2] > boxes[:, 0]).all()
        assert boxes[:, 2].max() <= 224 and boxes[:, 3].max() <= 112
    assert build("ImageNet", "train", dataset_dir=place).boxes(0) is None


@pytest.fixture
def unsplit(tmp_path, picture_writer):
    for name, count in (("ill", 3), ("well", 10), ("rare", 1)):
        for i in range(count):
            picture_writer(tmp_path / name / f"{i}.png")
    return tmp_path


def test_class_folders_are_split_within_each_class_and_always_alike(unsplit):
    options = {"dataset_dir": str(unsplit), "val_ratio": 0.3}
    train, val = (build(split=split, **options) for split in ("train", "val"))
    assert train.class_names == ["ill", "rare", "well"]
    assert np.bincount(train.listing.labels).tolist() == [2, 1, 7]
    assert np.bincount(val.listing.labels, minlength=3).tolist() == [1, 0, 3]
    both = [*train.listing.pictures, *val.listing.pictures]
    assert len(set(both)) == 14 and build(split="val", **options).listing.pictures == val.listing.pictures


def idx_content(data: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in data.shape)
    return (0x800 + data.ndim).to_bytes(4, "big") + sizes + data.astype(np.uint8).tobytes()


def write_idx_files(raw):
    """Six training and three test pictures, whose labels are 0, 1, 2, ..."""
    raw.mkdir(parents=True)
    for prefix, count in (("train", 6), ("t10k", 3)):
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(idx_content(np.zeros((count, 28, 28))))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_content(np.arange(count)))


@pytest.mark.parametrize("name", ["FashionMNIST", "KMNIST"])
def test_fashion_mnist_and_kmnist_are_read_like_mnist(name, tmp_path):
    write_idx_files(tmp_path / name / "raw")
    train, val = (build(name, split, dataset_dir=str(tmp_path), num_classes=10) for split in ("train", "val"))
    assert (len(train), len(val)) == (6, 3) and train.listing.labels == [0, 1, 2, 3, 4, 5]
    assert len(train.class_names) == 10 and train[0].image.shape == (1, 20, 24)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels-idx1", idx_content(np.arange(3)), "6 pictures and 3 labels in .*, which are of different splits"),
        ("labels-idx1", idx_content(np.arange(6) + 5), "label 10 in .*, though it has 10 classes"),
        ("labels-idx1", idx_content(np.arange(6))[:2] + b"\x0e" + b"\x01" + bytes(4), "are damaged"),
        ("images-idx3", idx_content(np.zeros((6, 28, 28)))[:-1], "are damaged"),
        ("images-idx3", b"<!DOCTYPE html><p>404</p>", "are damaged"),
        ("images-idx3", b"\x1f\x8b\x08\x08 compressed", "are damaged"),
        ("images-idx3", bytes([0, 0, 10, 3]) + bytes(16), "are damaged"),
        ("images-idx3", b"", "are damaged"),
    ],
)
def test_files_of_mnist_that_are_damaged_or_of_another_split_are_an_error_of_one_line(tmp_path, file, content, message):
    raw = tmp_path / "MNIST" / "raw"
    write_idx_files(raw)
    (raw / f"train-{file}-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=f"MNIST: .*{message}") as caught:
        build("MNIST", dataset_dir=str(tmp_path))
    assert str(raw) in str(caught.value) and "delete them" in str(caught.value) and "\n" not in str(caught.value)


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
    ("name", "options", "message"),
    [
        ("Mnist5K", {}, "unknown dataset 'Mnist5K': did you mean MNIST5k"),
        ("photos", {}, "choose one of MNIST, FashionMNIST, KMNIST, MNIST5k, ImageNet"),
        ("CUB200", {}, "--dataset CUB200 needs its folder: --dataset_dir DIR, or --data CUB200:DIR"),
        ("CUB200", {"dataset_dir": "/no/such/place"}, "--dataset_dir /no/such/place: no such folder"),
        ("MNIST5k", {"num_classes": 11}, "--num_classes 11: MNIST5k has 10 classes"),
    ],
)
def test_a_wrong_choice_of_data_is_an_error_of_one_line(name, options, message):
    with pytest.raises(DataError, match=message) as caught:
        build(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["CUB200", "ImageNet", "ConText", "Folder"])
def test_an_empty_folder_is_an_error(name, tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        build(name, dataset_dir=str(tmp_path))


def test_mnist_that_cannot_be_downloaded_is_an_error_of_one_line(tmp_path, monkeypatch):
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

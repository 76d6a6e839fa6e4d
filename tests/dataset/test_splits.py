"""Splits of a user's own pictures: folders under the names that people give them, and pictures in two of them."""

import logging
import shutil

import pytest

from args import parse_args, validation_config
from dataset import DataError
from dataset.check import same_content, warn_of_shared
from dataset.folder import list_folder
from dataset.registry import build_dataset, warn_of_training_pictures


@pytest.fixture
def make(tmp_path, picture_writer):
    def make(*splits, classes=("ant", "bee")):
        for number, split in enumerate(splits):
            for name in classes:
                picture_writer(tmp_path / split / name / f"{split}.png", size=(40 + number, 30))
        return tmp_path

    return make


def folders(listing):
    return {picture.parents[1].name for picture in listing.pictures}


@pytest.mark.parametrize(
    ("names", "val"),
    [
        (("train", "val"), "val"),
        (("train", "test"), "test"),
        (("train", "valid"), "valid"),
        (("train", "validation"), "validation"),
        (("Training", "Testing"), "Testing"),
        (("TRAIN", "VAL"), "VAL"),
        (("train", "val", "test"), "val"),
        (("Train", "Validation", "Test"), "Validation"),
    ],
)
def test_splits_are_found_under_their_usual_names(make, names, val):
    root = make(*names)
    train, held_out = list_folder(root, "train"), list_folder(root, "val")
    assert folders(train) == {names[0]} and folders(held_out) == {val}
    assert train.source == str(root / names[0]) and held_out.source == str(root / val)
    assert train.class_names == held_out.class_names == ["ant", "bee"]
    assert train.left_for_testing == (root / names[2] if len(names) == 3 else None)
    if len(names) == 3 or "est" in val:
        assert folders(list_folder(root, "test")) == {names[-1]}


def test_a_split_that_is_not_there_is_an_error_of_one_line(make):
    with pytest.raises(DataError, match=r"--split test: .* has no folder test/ but train, val; leave the flag out"):
        list_folder(make("train", "val"), "test")
    with pytest.raises(DataError, match="--split test: the test pictures of ImageNet have no public labels"):
        build_dataset("ImageNet", "test", dataset_dir="/", num_classes=2, img_size=(8, 8))


def test_two_folders_for_one_split_are_an_error(make):
    with pytest.raises(DataError, match=r"(val and .*valid|valid and .*val) are folders of the same split"):
        list_folder(make("train", "val", "valid"), "train")


def test_an_empty_split_is_no_split(make):
    root = make("train", "test")
    (root / "val" / "ant").mkdir(parents=True)
    assert folders(list_folder(root, "val")) == {"test"}


def test_train_alone_is_split_at_random(make, picture_writer):
    root = make("train")
    for number in range(9):
        picture_writer(root / "train" / "ant" / f"{number}.png")
    train, val = list_folder(root, "train"), list_folder(root, "val")
    assert len(train.pictures) == 9 and len(val.pictures) == 2
    assert val.source == f"20% of each class in {root / 'train'}" and train.source.startswith("80% of")


def test_without_training_pictures_there_is_a_test_set_but_no_training(make):
    root = make("test")
    for split in ("val", "test"):
        listing = list_folder(root, split)
        assert folders(listing) == {"test"} and listing.source == str(root / "test")
    with pytest.raises(DataError, match=r"has test/ but no train/ with class folders"):
        list_folder(root, "train")


SPLITS = {
    # folders: what trains, validates and tests without and with --val_ratio; "-" is an error, "share" a part of train/
    ("train",): (("share", "share", "-"), ("share", "share", "-")),
    ("train", "val"): (("train", "val", "-"), ("train", "val", "-")),
    ("train", "test"): (("train", "test", "test"), ("share", "share", "test")),
    ("train", "val", "test"): (("train", "val", "test"), ("train", "val", "test")),
    ("val",): (("-", "val", "-"), ("-", "val", "-")),
    ("test",): (("-", "test", "test"), ("-", "test", "test")),
    ("val", "test"): (("-", "val", "test"), ("-", "val", "test")),
}


@pytest.mark.parametrize("names", SPLITS)
@pytest.mark.parametrize("given", [False, True])
def test_every_combination_of_folders_and_val_ratio(make, picture_writer, names, given):
    root = make(*names)
    for name in ("ant", "bee"):
        if "train" in names:
            picture_writer(root / "train" / name / "second.png", size=(30, 30))
    found = []
    for split in ("train", "val", "test"):
        try:
            listing = list_folder(root, split, val_ratio=0.5, val_from_train=given)
        except DataError as error:
            assert "\n" not in str(error)
            found.append("-")
            continue
        (folder,) = folders(listing)
        found.append("share" if folder == "train" and len(listing.pictures) == 2 else folder)
        assert listing.class_names == ["ant", "bee"]
        left = listing.left_for_testing
        if split == "train":
            assert (left == root / "test") == (
                "test" in names and found[0] != "-" and SPLITS[names][given][1] != "test"
            )
    assert tuple(found) == SPLITS[names][given]


def test_val_ratio_beside_a_folder_that_validates_gives_a_note(make, caplog):
    root = make("train", "val")
    with caplog.at_level(logging.WARNING):
        list_folder(root, "train", val_from_train=True)
    assert f"--val_ratio is not used: {root / 'val'} validates" in caplog.text


def test_a_test_folder_without_class_folders_is_named(make, picture_writer):
    root = make("train")
    picture_writer(root / "test" / "1.png")
    with pytest.raises(DataError, match=r"--split test: there are no class folders in .*test: put its pictures"):
        list_folder(root, "test")


def test_val_ratio_splits_train_if_it_is_given_or_was_in_training(make):
    given, left_out = parse_args(["--val_ratio", "0.5"]), parse_args([])
    names = {"cross_validation": None, "held_out": None}
    assert validation_config(given) == {"val_ratio": 0.5, "val_from_train": True, **names}
    assert validation_config(left_out) == {"val_ratio": 0.2, "val_from_train": False, **names}
    stored = {"data_config": validation_config(given)}
    assert validation_config(left_out, stored) == validation_config(given)
    assert validation_config(given, {"data_config": {"val_ratio": 0.1}}) == validation_config(given)
    for ratio, held_out in ((0.5, ["a/1.png"]), (0.1, None)):  # another ratio is another draw
        known = {"data_config": {"val_ratio": ratio, "held_out": ["a/1.png"]}}
        assert validation_config(given, known)["held_out"] == held_out
    earlier = {"data_config": {"val_ratio": 0.5}}  # test/ validated, whether the flag was given or not
    found = validation_config(left_out, earlier)
    assert found == {"val_ratio": 0.5, "val_from_train": False, **names}


def test_a_test_split_is_compared_with_the_training_pictures_of_its_folder(make, caplog):
    root = make("train", "val", "test")
    (root / "test/ant/copy.png").write_bytes((root / "train" / "ant" / "train.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        warn_of_training_pictures("Folder", list_folder(root, "test"), dataset_dir=str(root), img_size=(8, 8))
    (record,) = caplog.records
    assert record.getMessage().startswith("1 of 3 test pictures are training pictures, too, such as ")
    shutil.rmtree(root / "train")
    warn_of_training_pictures("Folder", list_folder(root, "test"), dataset_dir=str(root))
    assert len(caplog.records) == 1


def test_a_class_may_be_called_train(tmp_path, picture_writer):
    for name in ("car", "train", "plane"):
        picture_writer(tmp_path / name / "1.png")
    assert list_folder(tmp_path, "train").class_names == ["car", "plane", "train"]


def test_mnist_has_its_test_split_under_both_names():
    val, test = (build_dataset("MNIST5k", s, dataset_dir=None, num_classes=2, img_size=(8, 8)) for s in ("val", "test"))
    assert len(test) == len(val) == 200


def test_pictures_in_two_splits_are_counted(make, caplog):
    root = make("train", "val", "test")
    for copy in ("val/ant/copy.png", "val/bee/copy.png", "test/ant/copy.png"):
        (root / copy).write_bytes((root / "train" / "ant" / "train.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        warn_of_shared(list_folder(root, "train"), list_folder(root, "val"))
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("2 of 4 validation pictures are training pictures, too, such as ") and "copy.png" in first
    assert second.startswith("1 of 3 test pictures are training pictures, too, such as ")


def test_files_are_the_same_only_if_all_their_bytes_are(tmp_path):
    ends = bytes(5000)
    files = {"a": ends + b"1" + ends, "b": ends + b"2" + ends, "c": ends + b"1" + ends, "d": b"1"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in files]
    assert same_content(paths, [0, 1, 1, 1]) == [[0, 2]] and same_content(paths, [0, 0, 0, 0]) == []


def test_the_split_is_part_of_the_origin(make):
    root = make("train", "val", "test")
    for split in ("val", "test"):
        data = build_dataset("Folder", split, dataset_dir=str(root), num_classes=None, img_size=(8, 8))
        assert data.origin["split"] == split
    held_out = build_dataset("MNIST5k", "test", dataset_dir=None, num_classes=2, img_size=(8, 8))
    assert held_out.origin["split"] == "val"  # the same pictures under both names


def test_train_takes_no_other_split(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_args(["--split", "test"])
    assert caught.value.code == 2 and "--split: train.py validates on val, not on test" in capsys.readouterr().err

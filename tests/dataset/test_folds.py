"""Folds of a cross-validation, with and without groups, also read again from a checkpoint."""

from pathlib import Path

import numpy as np
import pytest

from dataset import DataError, Listing
from dataset.folds import assign_folds, fold_listing, read_groups
from dataset.held_out import picture_names
from dataset.registry import build_dataset


def spread(counts):
    return max(counts) - min(counts)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_classes_and_sizes_are_shared_evenly(folds):
    labels = [0] * 23 + [1] * 11 + [2] * 7
    found = assign_folds(labels, folds)
    assert spread(np.bincount(found, minlength=folds)) <= 1
    for label in range(3):
        assert spread(np.bincount([f for f, own in zip(found, labels, strict=True) if own == label],
                                  minlength=folds)) <= 1  # fmt: skip
    assert found == assign_folds(labels, folds) and found != sorted(found)


def test_no_group_is_divided_and_classes_are_shared_about_evenly():
    generator = np.random.default_rng(0)
    groups = [str(g) for g in generator.integers(0, 40, 300)]
    sick = {str(g) for g in range(10)}
    labels = [int(g in sick) for g in groups]
    found = assign_folds(labels, 4, groups)
    assert all(len({f for f, own in zip(found, groups, strict=True) if own == g}) == 1 for g in set(groups))
    for label in range(2):
        counts = np.bincount([f for f, own in zip(found, labels, strict=True) if own == label], minlength=4)
        assert spread(counts) <= 0.25 * counts.mean() * 2, counts


def test_too_few_pictures_or_groups_are_one_line():
    with pytest.raises(DataError, match="only 2 pictures"):
        assign_folds([0, 1], 3)
    with pytest.raises(DataError, match="only 2 groups"):
        assign_folds([0, 1, 0, 1], 3, ["a", "a", "b", "b"])


def test_groups_are_named_by_path_or_by_name(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("file;group\nb/1.png;p1\n2.png;p2\n")
    assert read_groups(path, ["b/1.png", "a/2.png", "b/2.png"]) == ["p1", "p2", "p2"]
    with pytest.raises(DataError, match=r"1 of 2 pictures have no line, such as c/3\.png"):
        read_groups(path, ["b/1.png", "c/3.png"])
    with pytest.raises(DataError, match="cannot be read"):
        read_groups(tmp_path / "none.csv", [])
    path.write_text("file,group\nb/\u00e9.png,p3\n")
    decomposed = Listing([Path("data/b/e\u0301.png")], [0], ["b"])  # as macOS stores the accent
    assert read_groups(path, picture_names(decomposed, Path("data"))) == ["p3"]


def test_what_a_model_held_out_stays_so_when_pictures_are_added_and_groups_are_gone():
    def listing(count):
        files = [Path("root", f"{n}.png") for n in range(count)]
        return lambda split: Listing(files, [n % 2 for n in range(count)], ["a", "b"])

    first = fold_listing(listing(10), "val", Path("root"), folds=3, fold=2)
    options = {"folds": 3, "fold": 2, "groups": "gone.csv", "held_out": first.held_out}
    again = fold_listing(listing(14), "val", Path("root"), **options)
    train = fold_listing(listing(14), "train", Path("root"), **options)
    assert again.pictures == first.pictures and len(train.labels) == 14 - len(first.labels)
    assert not set(train.pictures) & set(again.pictures)


@pytest.mark.parametrize("split", ["train", "val"])
def test_held_out_pictures_are_found_however_their_accents_are_stored_and_missed_if_gone(split, caplog):
    files = [Path("root/e\u0301.png"), Path("root/u.png")]  # decomposed, as macOS stores it
    options = {"folds": 2, "fold": 1, "held_out": ["\u00e9.png", "gone.png"]}
    found = fold_listing(lambda split: Listing(files, [0, 1], ["a", "b"]), split, Path("root"), **options)
    assert found.pictures == (files[:1] if split == "val" else files[1:])
    assert "1 of the 2 pictures that the training held out are not there, such as gone.png" in caplog.text


@pytest.mark.parametrize("layout", ["", "train"])
def test_the_folds_of_a_folder_are_its_pictures_each_once(tmp_path, picture_writer, layout):
    for name in "ab":
        for n in range(4):
            picture_writer(tmp_path / layout / name / f"{n}.png")
    if layout:
        picture_writer(tmp_path / "test" / "a" / "t.png")
    seen = []
    for fold in (1, 2):
        config = {"dataset_dir": str(tmp_path), "num_classes": None, "img_size": (8, 8),
                  "cross_validation": {"folds": 2, "fold": fold}}  # fmt: skip
        train, val = (build_dataset("Folder", split, **config).listing for split in ("train", "val"))
        assert len(train.labels) == len(val.labels) == 4 and not set(train.pictures) & set(val.pictures)
        seen += val.pictures
        if layout:
            assert len(build_dataset("Folder", "test", **config)) == 1
    assert len(set(seen)) == 8


FOLD = {"folds": 2, "fold": 1, "held_out": ["a/x.png"]}


def listed(root, split, **options):
    """Names of the pictures of a split of a Folder, and the names that are held out."""
    data = build_dataset("Folder", split, dataset_dir=str(root), num_classes=None, img_size=(8, 8), **options)
    return picture_names(data.listing, data.listing.drawn_from or root), data.listing.held_out


@pytest.mark.parametrize("layout", ["", "train"])
def test_a_drawn_split_keeps_what_was_held_out_when_pictures_come_and_go(tmp_path, picture_writer, layout, caplog):
    for name in "ab":
        for number in range(10):
            picture_writer(tmp_path / layout / name / f"{number}.png")
    val, held_out = listed(tmp_path, "val")
    train, _ = listed(tmp_path, "train")
    assert len(val) == 4 and sorted(held_out) == sorted(val) and not set(val) & set(train)
    picture_writer(tmp_path / layout / "a" / "new.png")
    (tmp_path / layout / next(name for name in train if "b/" in name)).unlink()
    assert set(listed(tmp_path, "val")[0]) & set(train)  # drawn anew, it has pictures of the training
    assert listed(tmp_path, "val", held_out=held_out)[0] == val
    now, _ = listed(tmp_path, "train", held_out=held_out)
    assert len(now) == 16 and not set(val) & set(now) and any("new.png" in name for name in now)
    assert "held out" not in caplog.text
    if layout:  # the same pictures, reached in another way
        assert listed(tmp_path / layout, "val", held_out=held_out)[0] == val
    (tmp_path / layout / val[0]).unlink()
    assert listed(tmp_path, "val", held_out=held_out)[0] == val[1:]
    assert f"1 of the 4 pictures that the training held out are not there, such as {val[0]}" in caplog.text


@pytest.mark.parametrize("options", [{"held_out": ["a/x.png"]}, {"cross_validation": FOLD}])
def test_other_data_have_a_split_of_their_own(tmp_path, picture_writer, caplog, options):
    for name in "ab":
        for number in range(5):
            picture_writer(tmp_path / "new" / name / f"{number}.png")
            picture_writer(tmp_path / "alone" / "val" / name / f"{number}.png")
    assert listed(tmp_path / "new", "val", **options)[0] == listed(tmp_path / "new", "val")[0]
    assert "none of the 1 pictures that the training held out are there" in caplog.text
    assert len(listed(tmp_path / "alone", "val", **options)[0]) == 10  # a test set for a trained model


def test_a_folder_that_is_split_by_now_is_taken_as_it_is(tmp_path, picture_writer):
    for name in "ab":
        picture_writer(tmp_path / "data" / "train" / name / "0.png")
        picture_writer(tmp_path / "data" / "val" / name / "1.png")
    assert listed(tmp_path / "data", "val", held_out=["a/0.png"]) == (["val/a/1.png", "val/b/1.png"], ())

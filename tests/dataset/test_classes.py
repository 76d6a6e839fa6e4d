"""Which class is which: names that are the same are told apart, and labels follow the names of a model's outputs."""

import logging

import pytest

from dataset import DataError
from dataset.classes import classes_called, distinct_names, fingerprint, outputs_of
from dataset.registry import build_dataset, build_validation, class_number
from tools.figures.explanations import shortened


def folder_of(root, split, classes, picture_writer):
    for name in classes:
        picture_writer(root / split / name / f"{name}.png")
    return str(root)


def validation(names, root, dataset="Folder", **options):
    options = {"num_classes": len(names), "img_size": (8, 8), "dataset_dir": str(root), **options}
    return build_validation(dataset, in_chans=3, class_names=names, **options)


def by_name(data):
    """Name of the class of each picture by its label, and by its file."""
    return [(data.class_names[label], path.stem) for label, path in
            zip(data.listing.labels, data.listing.pictures, strict=True)]  # fmt: skip


def test_labels_follow_the_outputs_of_the_model(tmp_path, picture_writer):
    for split in ("train", "val"):
        folder_of(tmp_path, split, ["ant", "bee", "cat"], picture_writer)
    data = validation(["cat", "ant", "bee"], tmp_path)
    assert data.class_names == ["cat", "ant", "bee"] and data.listing.labels == [1, 2, 0]
    assert all(name == stem for name, stem in by_name(data))


def test_some_of_the_classes_are_evaluated_and_it_is_said(tmp_path, picture_writer, caplog):
    folder_of(tmp_path, "train", ["bee", "dog"], picture_writer)
    folder_of(tmp_path, "val", ["bee", "dog"], picture_writer)
    with caplog.at_level(logging.WARNING):
        data = validation(["ant", "bee", "cat", "dog"], tmp_path)
    assert data.num_classes == 4 and data.listing.labels == [1, 3]
    assert "evaluated on 2 of the 4 classes of the model: there are no pictures of ant, cat" in caplog.text


def test_a_class_folder_without_pictures_is_said_too(tmp_path, picture_writer, caplog):
    folder_of(tmp_path, "train", ["ant", "bee"], picture_writer)
    folder_of(tmp_path, "val", ["bee"], picture_writer)
    with caplog.at_level(logging.WARNING):
        assert validation(["ant", "bee"], tmp_path).listing.labels == [1]
    assert "there are no pictures of ant" in caplog.text


@pytest.mark.parametrize("names", [["ant", "bee"], ["ant", "bee", "cow"], ["x", "y", "z"]])
def test_other_classes_are_refused_with_their_names(names, tmp_path, picture_writer):
    for split in ("train", "val"):
        folder_of(tmp_path, split, ["ant", "bee", "cat"], picture_writer)
    with pytest.raises(DataError, match=r"the data have .*cat.*, which the model does not") as caught:
        validation(names, tmp_path)
    assert "\n" not in str(caught.value) and ("cow" in str(caught.value)) == ("cow" in names)


def test_a_resumed_run_needs_every_class_and_keeps_their_order(tmp_path, picture_writer):
    folder_of(tmp_path, "train", ["ant", "bee"], picture_writer)
    options = {"num_classes": None, "img_size": (8, 8), "dataset_dir": str(tmp_path)}
    assert build_dataset("Folder", "train", class_names=["bee", "ant"], **options).listing.labels == [1, 0]
    with pytest.raises(DataError, match="the model has cat, which the data do not"):
        build_dataset("Folder", "train", class_names=["ant", "bee", "cat"], **options)
    unused = build_dataset("Folder", "train", class_names=["ant", "bee", "2", "3"], **options)
    assert unused.listing.class_names == ["ant", "bee"]  # all that a file of least similar classes must name
    assert unused.num_classes == 4 and unused.listing.labels == [0, 1]  # --num_classes 4 of two categories


def test_the_classes_of_a_model_are_selected_by_name_where_the_first_are_taken():
    options = {"dataset_dir": None, "num_classes": 2, "img_size": (8, 8)}
    first = build_validation("MNIST5k", in_chans=1, class_names=["0", "1"], **options)
    assert len(first) == 200 and first.listing.labels[:4] == [0, 1, 0, 1]
    other = build_validation("MNIST5k", in_chans=1, class_names=["7", "3"], **options)
    plain = build_dataset("MNIST5k", "val", **{**options, "num_classes": 10})
    assert other.listing.labels[:4] == [1, 0, 1, 0] and (other.pixels(0) == plain.pixels(3)).all()


def test_without_names_in_the_checkpoint_the_order_counts_and_it_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        options = {"dataset_dir": None, "num_classes": 2, "img_size": (8, 8)}
        data = build_validation("MNIST5k", in_chans=1, class_names=None, **options)
    assert data.class_names == ["0", "1"] and "has no class names" in caplog.text and "(0, 1)" in caplog.text


def test_accents_are_the_same_however_a_file_system_stores_them(tmp_path, picture_writer):
    for split in ("train", "val"):
        folder_of(tmp_path, split, ["cafe\u0301", "zoo"], picture_writer)
    assert validation(["zoo", "caf\u00e9"], tmp_path).listing.labels == [1, 0]
    assert fingerprint(["caf\u00e9"]) == fingerprint(["cafe\u0301"]) != fingerprint(["cafe"])


CRANES = ["n02012849", "n03126707"]  # a bird and a machine


def test_two_synsets_of_one_name_are_told_apart(tmp_path, picture_writer):
    for split in ("train", "val"):
        folder_of(tmp_path, split, [*CRANES, "n01440764"], picture_writer)
    names = ["tench", "crane (n02012849)", "crane (n03126707)"]
    data = build_dataset("ImageNet", "val", dataset_dir=str(tmp_path), num_classes=None, img_size=(8, 8))
    assert data.class_names == names
    assert class_number("crane (n03126707)", names) == class_number("n03126707", names) == class_number("2", names) == 2
    with pytest.raises(DataError, match=r"--classes crane: 2 classes have this name; give one of 1 \(crane \(n020"):
        class_number("crane", names)
    with pytest.raises(DataError, match=r"--classes 9{60}: the model has no such class"):
        class_number("9" * 5000, names)
    assert len({shortened(name) for name in ("maillot (n03710637)", "maillot (n03710639)")}) == 2
    assert shortened("maillot (n03710637)") == "maill… (n03710637)" and len(shortened("x" * 40)) == 18
    # a checkpoint of an earlier version has the bare name twice, in the order of the synsets
    old = validation(["crane", "tench", "crane"], tmp_path, "ImageNet")
    assert old.class_names == ["crane (n02012849)", "tench", "crane (n03126707)"]
    assert sorted(zip(old.listing.labels, (p.stem for p in old.listing.pictures), strict=True)) == [
        (0, "n02012849"), (1, "n01440764"), (2, "n03126707"),
    ]  # fmt: skip


def test_an_old_checkpoint_of_the_first_classes_has_one_of_two_synsets(tmp_path, picture_writer):
    for split in ("train", "val"):
        folder_of(tmp_path, split, ["n01440764", *CRANES, "n03000684", "n03127925"], picture_writer)
    for names, label in ((["tench", "crane"], None), (["tench", "crane", "chain saw"], 1), (["chain saw", "crane"], 2)):
        if label is None:  # nothing in the checkpoint says which of the two it is
            with pytest.raises(DataError, match="the model has crane, which the data do not"):
                validation(names, tmp_path, "ImageNet")
            continue
        data = validation(names, tmp_path, "ImageNet")
        assert data.class_names[1] == f"crane ({CRANES[label - 1]})" and len(data) == len(names)


def test_a_test_set_needs_no_training_pictures(tmp_path, picture_writer):
    folder_of(tmp_path, "test", ["bee", "ant"], picture_writer)
    assert validation(["bee", "cat", "ant"], tmp_path).listing.labels == [2, 0]


def test_one_synset_of_two_with_the_same_name_has_the_same_name_alone(tmp_path, picture_writer):
    for split in ("train", "val"):
        folder_of(tmp_path, split, CRANES[1:], picture_writer)
    data = validation(["crane (n02012849)", "crane (n03126707)"], tmp_path, "ImageNet")
    assert data.listing.labels == [1] and data.num_classes == 2


def test_an_imagenet_split_without_a_class_is_evaluated_on_the_others(tmp_path, picture_writer, caplog):
    folder_of(tmp_path, "train", ["n01440764", "n01443537"], picture_writer)
    folder_of(tmp_path, "val", ["n01443537"], picture_writer)
    with caplog.at_level(logging.WARNING):
        assert validation(["tench", "goldfish"], tmp_path, "ImageNet").listing.labels == [1]
    assert "no folder n01440764" in caplog.text and "there are no pictures of tench" in caplog.text


def test_names_that_are_looked_up_and_reordered():
    assert distinct_names(["a", "b", "a"], [3, 4, 7]) == ["a (3)", "b", "a (7)"]
    assert classes_called("a", ["a", "a (3)"]) == [0] and classes_called("7", ["b", "a (7)"]) == [1]
    assert outputs_of(["b", "a", "c"], ["a", "b", "c"]) == [1, 0, 2] and outputs_of(["a"], ["b"]) is None
    assert outputs_of(["a", "b"], ["a", "c"]) is None and outputs_of(["a", "a"], ["a", "a"]) == [0, 1]

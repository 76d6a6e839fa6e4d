import numpy as np
import pytest

from dataset import DataError, Listing
from dataset.pictures import PictureDataset
from engine.demo.examples import check_on_disk, choose_examples


def a_split(pictures, labels):
    names = [f"class {c}" for c in range(max(labels) + 1)]
    return PictureDataset(Listing(pictures, labels, names), img_size=(8, 8), in_chans=1, num_classes=len(names))


def test_every_class_has_an_example_before_any_has_a_second_one():
    labels = [0] * 50 + [1] * 3 + [2] * 10
    data = a_split(np.arange(63, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2), labels)
    assert [e.label for e in choose_examples(data, 3)] == [0, 1, 2]
    assert [e.label for e in choose_examples(data, 7)] in ([0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 2, 2],
                                                           [0, 0, 1, 1, 2, 2, 2])  # fmt: skip
    every = choose_examples(data, 100)
    assert sorted(int(np.asarray(e.picture)[0, 0]) for e in every) == [*range(63)]
    for e in every:  # title, picture and label belong together
        number = int(np.asarray(e.picture)[0, 0])
        assert e.title == f"picture {number}" and e.label == labels[number]


def test_the_choice_is_random_but_always_the_same():
    data = a_split(np.zeros((400, 4, 4), np.uint8), [0, 1] * 200)
    titles = [[e.title for e in choose_examples(data, 4, seed=seed)] for seed in (0, 0, 1)]
    assert titles[0] == titles[1] != titles[2] and titles[0] != [f"picture {number}" for number in (0, 2, 1, 3)]


def test_pictures_that_cannot_be_decoded_are_left_out(tmp_path, picture_writer):
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for file in files[:4]:
        picture_writer(file)
    for file in files[4:]:
        file.write_text("no picture")
    assert {e.title for e in choose_examples(a_split(files, [0] * 6), 6)} == {f"picture {n}" for n in range(4)}


def test_data_that_would_be_downloaded_are_an_error(tmp_path):
    with pytest.raises(DataError, match=r"MNIST is not in .*: give its --dataset_dir, or --examples 0"):
        check_on_disk("MNIST", str(tmp_path))
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    check_on_disk("MNIST", str(tmp_path))
    check_on_disk("MNIST5k", None)

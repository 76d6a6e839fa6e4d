import numpy as np
import pytest
import torch

from dataset import Listing
from dataset.pictures import PictureDataset
from studies.head_study.framed import Framed
from studies.head_study.patterns import PATTERNS, pattern
from studies.head_study.sources import Joined, Pictures


def grey_pictures(value, *, count=4, classes=2):
    pictures = np.full((count, 32, 32), value, np.uint8)
    listing = Listing(pictures, [i % classes for i in range(count)], [str(c) for c in range(classes)])
    return PictureDataset(listing, img_size=(56, 56), in_chans=1, num_classes=classes)


def framed(value, *, split="train", frames=3):
    return Framed(grey_pictures(value), split=split, frames=frames, img_size=(112, 112))


def test_a_class_is_an_object_and_a_frame():
    source = framed(0)
    assert source.num_classes == 6 and set(source.labels) == set(range(6))
    for (index, kind), label in zip(source.items, source.labels, strict=True):
        assert label == (index % 2) * 3 + kind


def test_a_picture_is_the_same_each_time_and_another_in_the_other_split():
    first, again, other = framed(0), framed(0), framed(0, split="val")
    assert torch.equal(first.pixels(1), again.pixels(1)) and not torch.equal(first.pixels(1), other.pixels(1))
    first.pixels(0)  # whatever was asked for before
    assert torch.equal(first.boxes(1), again.boxes(1))


@pytest.mark.parametrize("index", range(6))
def test_the_object_is_inside_the_box_and_nowhere_else(index):
    black, white = framed(0), framed(255)  # they differ in the object alone
    changed = (black.pixels(index) != white.pixels(index)).any(0)  # (H, W)
    rows, columns = changed.nonzero().unbind(1)
    left, top, right, bottom = black.boxes(index)[0].tolist()
    assert left <= columns.min() and columns.max() < right + 1 and top <= rows.min() and rows.max() < bottom + 1
    # the frame around it is 16 to 22 of 224 pixels wide
    assert columns.min() - left == pytest.approx(9.5, abs=3) and bottom - rows.max() == pytest.approx(9.5, abs=3)


def test_patterns_lie_in_0_to_1_and_differ():
    drawn = [pattern(np.random.default_rng(0), kind, 64, 64, 11.0) for kind in range(PATTERNS)]
    assert all(image.min() >= 0 and image.max() <= 1 for image in drawn)
    for i, one in enumerate(drawn):
        assert all(np.abs(one - other).mean() > 0.1 for other in drawn[:i])


def test_joined_sources_number_their_classes_one_after_the_other():
    joined = Joined([Pictures(grey_pictures(0)), Pictures(grey_pictures(9, count=3, classes=3))])
    assert joined.num_classes == 5 and joined.labels == [0, 1, 0, 1, 2, 3, 4]
    assert joined.pixels(0).max() == 0 and joined.pixels(5).min() == 9

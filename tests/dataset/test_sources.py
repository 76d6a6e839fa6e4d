"""Pictures to explain: files that cannot be decoded are named, or left out and counted."""

import logging

import numpy as np
import pytest

from dataset import DataError, Listing
from dataset.pictures import PictureDataset
from dataset.sources import Sources


@pytest.fixture
def folder(tmp_path, picture_writer):
    for name in ("a.png", "b.jpg", "c.gif"):
        picture_writer(tmp_path / name)
    cut = (tmp_path / "c.gif").read_bytes()
    (tmp_path / "c.gif").write_bytes(cut[: len(cut) - 30])
    return tmp_path


def sources(folder, bad_images, **options):
    return Sources(3, data=None, numbers=[], files=[str(folder)], bad_images=bad_images)


def test_a_file_that_cannot_be_decoded_is_named_before_any_is_explained(folder):
    with pytest.raises(DataError, match=r"the picture .*c.gif cannot be read: .*truncated.*--bad_images skip"):
        sources(folder, "error")


def test_files_that_cannot_be_decoded_are_left_out_and_counted(folder, caplog):
    with caplog.at_level(logging.WARNING):
        found = sources(folder, "skip")
    assert [source.title for source in found] == found.titles == ["a", "b"] and len(found) == 2
    assert "1 of 3 pictures are left out" in caplog.text and "c.gif" in caplog.text
    for name in ("a.png", "b.jpg"):
        (folder / name).unlink()
    with pytest.raises(DataError, match="none of the pictures to explain can be decoded"):
        sources(folder, "skip")


def test_chosen_pictures_of_a_split_are_treated_alike(folder):
    files = [folder / name for name in ("c.gif", "a.png", "b.jpg")]
    data = PictureDataset(Listing(files, [2, 1, 0], ["x", "y", "z"]), img_size=(8, 8), in_chans=3, num_classes=3)
    found = Sources(3, data=data, numbers=[0, 2], files=None, bad_images="skip")
    assert [(source.title, source.label) for source in found] == [("2", 0)]
    with pytest.raises(DataError, match=r"c.gif"):
        Sources(3, data=data, numbers=[0, 2], files=None)


def test_pictures_in_memory_need_no_check():
    listing = Listing(np.zeros((3, 8, 8), np.uint8), [0, 1, 2], ["0", "1", "2"])
    data = PictureDataset(listing, img_size=(8, 8), in_chans=1, num_classes=3)
    assert [source.title for source in Sources(1, data=data, numbers=[1], files=None)] == ["1"]

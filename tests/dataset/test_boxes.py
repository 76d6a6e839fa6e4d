import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from dataset import DataError
from dataset.boxes import boxes_in_frame, read_voc


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_stays_on_its_object_for_every_exif_orientation(tmp_path, orientation):
    pixels = np.zeros((40, 60), np.uint8)
    pixels[5:15, 10:40] = 255  # the object, in the stored picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as file:
        upright = np.asarray(ImageOps.exif_transpose(file))
    size = upright.shape
    (box,) = boxes_in_frame((10, 5, 40, 15), stored_size=(60, 40), orientation=orientation, img_size=size).tolist()
    rows, columns = np.nonzero(upright)
    assert box == pytest.approx([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_boxes_are_scaled_and_clipped():
    found = boxes_in_frame((-10, 10, 50, 200), stored_size=(100, 50), orientation=1, img_size=(100, 100))
    torch.testing.assert_close(found, torch.tensor([[0.0, 20.0, 50.0, 100.0]]))


def test_a_box_outside_its_picture_is_left_out():
    assert boxes_in_frame((110, 0, 120, 9), stored_size=(100, 50), orientation=1, img_size=(9, 9)).shape == (0, 4)


@pytest.mark.parametrize("content", [None, "<annotation>", "<annotation><size/></annotation>"])
def test_an_unreadable_box_file_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.xml").write_text(content)
    with pytest.raises(DataError, match=r"the boxes in .*a.xml cannot be read"):
        read_voc(tmp_path / "a.xml")

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset import DataError, Listing
from dataset.folder import titled_pictures
from dataset.pictures import PictureDataset, open_picture
from dataset.transforms import augmentation


def grey(values):
    return Image.fromarray(np.array(values, np.uint8))


def test_a_picture_rotated_by_exif_is_opened_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    file = tmp_path / "a.png"
    grey([[10, 20, 30]]).save(file, exif=exif)
    assert open_picture(file, 1).size == (1, 3)


def test_transparent_pictures_are_put_on_white(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(np.array([[[200, 0, 0, 0], [200, 0, 0, 255]]], np.uint8), "RGBA").save(file)
    assert np.asarray(open_picture(file, 3)).tolist() == [[[255, 255, 255], [200, 0, 0]]]


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 65535, 25700]], np.uint16)).save(file)
    assert np.asarray(open_picture(file, 1)).tolist() == [[0, 255, 100]]


@pytest.mark.parametrize(("mode", "values"), [("F", [[0.0, 0.5, 1.0]]), ("I", [[0, 200, 400]])])
def test_grey_without_a_known_white_is_stretched(tmp_path, mode, values):
    file = tmp_path / "a.tif"
    Image.fromarray(np.array(values, np.float32 if mode == "F" else np.int32)).save(file)
    assert np.asarray(open_picture(file, 1)).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA"])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_any_mode_becomes_grey_or_rgb(tmp_path, mode, in_chans):
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode).save(file)
    picture = open_picture(file, in_chans)
    assert picture.mode == ("L" if in_chans == 1 else "RGB") and picture.size == (5, 4)
    assert np.asarray(picture).min() >= 250


@pytest.mark.parametrize("content", [b"", b"words, not pixels", b"\x89PNG\r\n\x1a\n cut"])
def test_a_file_that_is_not_a_picture_is_named(tmp_path, content):
    file = tmp_path / "broken.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"the picture .*broken.png cannot be read") as caught:
        open_picture(file, 3)
    assert "\n" not in str(caught.value)


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(DataError, match=r"missing.png cannot be read: No such file"):
        open_picture(tmp_path / "missing.png", 3)


def noise_set(augment=None):
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    listing = Listing(images, [0, 1, 0, 1], ["a", "b"])
    return PictureDataset(listing, img_size=(32, 32), in_chans=1, num_classes=2, augment=augment)


def test_augmentation_depends_on_its_seed_only():
    data = noise_set(augmentation((32, 32), augment=True))
    first = data[1, 7].image
    torch.manual_seed(99)
    torch.rand(5)
    assert torch.equal(data[1, 7].image, first)
    assert any(not torch.equal(data[1, seed].image, first) for seed in range(8, 14))
    assert first.dtype == torch.uint8 and first.shape == (1, 32, 32)


def test_loading_a_sample_keeps_the_random_state():
    data = noise_set(augmentation((32, 32), augment=True))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _ = data[0, 3]
    assert torch.equal(torch.rand(3), expected)


def test_without_augmentation_a_seed_changes_nothing():
    assert augmentation((32, 32), augment=False) is None
    assert torch.equal(noise_set()[2, 5].image, noise_set()[2].image)


def test_titles_stay_in_their_folder_and_never_meet():
    names = ["..png", "...png", "....png", " .png", "a.png", "A.jpg", "a_2.png", "overview.png.png", "x\n\x1b.png",
             "\u202eb.png", "\udcff.png", "é.png", "e\u0301.png",
             ".hidden", "Images.png", "猫" * 83 + ".png"]  # fmt: skip
    titles = list(titled_pictures([f"/data/{name}" for name in names]))
    assert len({title.casefold() for title in titles}) == len(names)
    for title in titles:
        assert Path("out", title).resolve().parent == Path("out").resolve() and title.isprintable()
        assert len(title.encode()) < 250 and title.casefold() not in ("overview.png", "images", ".", "..")
    assert titles[4:6] == ["a", "A_2"] and list(titled_pictures(["b/my cat.jpg"])) == ["my cat"]

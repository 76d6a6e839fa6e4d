import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from dataset import DataError, Listing
from dataset.changes import changed
from dataset.check import picture_fault
from dataset.folder import titled_pictures
from dataset.pictures import PictureDataset, open_picture
from dataset.transforms import augmentation
from tests.png import png_bytes


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


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
def test_fewer_bits_stored_in_sixteen_are_scaled_by_what_the_file_holds(tmp_path, bits, suffix):
    top = 2**bits - 1
    file, values = tmp_path / f"a.{suffix}", np.array([[0, top, top // 5, top // 2]], np.uint16)
    if suffix == "pgm":
        file.write_bytes(b"P5 4 1 %d\n" % top + values.astype(">u2" if bits > 8 else np.uint8).tobytes())
    else:
        Image.fromarray(values).save(file)
    assert np.asarray(open_picture(file, 1)).ravel().tolist() == pytest.approx([0, 255, 51, 127], abs=1)


def test_a_dark_picture_is_scaled_by_the_white_that_its_file_says(tmp_path):
    file, values = tmp_path / "a.tif", np.array([[0, 819]], np.uint16)  # a fifth of 12 bits
    Image.fromarray(values).save(file, tiffinfo={281: 4095})
    assert np.asarray(open_picture(file, 1)).tolist() == [[0, 51]]
    file = tmp_path / "a.pgm"
    file.write_bytes(b"P5 2 1 4095\n" + values.astype(">u2").tobytes())
    assert np.asarray(open_picture(file, 1)).tolist() == [[0, 51]]


def tiff_bytes(values, order, meaning):
    """TIFF of 16-bit values (h, w, ch) without compression, in a byte order and of a photometric interpretation."""
    (height, width, channels), content = values.shape, values.astype(f"{order}u2").tobytes()
    bits_at = 8 + len(content)
    bits = 16 if channels == 1 else bits_at
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, bits), (259, 3, 1, 1), (262, 3, 1, meaning),
            (273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(content))]  # fmt: skip
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", bits_at + 2 * channels)
    return head + content + struct.pack(f"{order}{channels}HH", *[16] * channels, len(tags)) + entries + bytes(4)


def deep_colour(bits, order):
    """Pixels (1, 2, 3) of a few bits in 16, as bytes of a PNG or of a TIFF without compression."""
    top = 2**bits - 1
    values = np.array([[[0, top // 5, top], [top, 0, top // 2]]])
    if order == "png":
        return png_bytes(values.astype(">u2").tobytes(), size=(2, 1), depth=16)
    return tiff_bytes(values, order, 2)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("order", ["png", "<", ">"])
def test_colour_of_fewer_bits_stored_in_sixteen_is_not_black(tmp_path, bits, order):
    file = tmp_path / "a"
    file.write_bytes(deep_colour(bits, order))
    assert np.asarray(open_picture(file, 3)).ravel().tolist() == pytest.approx([0, 51, 255, 255, 0, 127], abs=1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_little_ink_is_light(tmp_path, order):
    file, tenth = tmp_path / "a.tif", round(0.1 * (2**16 - 1))
    file.write_bytes(tiff_bytes(np.full((1, 2, 4), tenth), order, 5))
    # without colour management, what an ink leaves of the light: (1 - .1) * (1 - .1), of 255
    assert np.asarray(open_picture(file, 3)).ravel().tolist() == pytest.approx([0.81 * 255] * 6, abs=2)


def test_a_scan_whose_zero_is_white_is_not_inverted(tmp_path):
    file = tmp_path / "a.tif"
    file.write_bytes(tiff_bytes(np.array([[[0], [13107], [65535]]]), "<", 0))
    assert np.asarray(open_picture(file, 1)).tolist() == [[255, 204, 0]]


@pytest.mark.parametrize("in_chans", [1, 3])
def test_values_that_are_no_numbers_are_black_and_infinite_ones_are_extremes(tmp_path, in_chans):
    file = tmp_path / "a.tif"
    Image.fromarray(np.array([[np.nan, 1.0, 2.0, 3.0, np.inf, -np.inf]], np.float32)).save(file)
    pixels = np.asarray(open_picture(file, in_chans)).reshape(6, -1)[:, 0]
    assert pixels.tolist() == [0, 0, 128, 255, 255, 0]
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(file)
    with pytest.raises(DataError, match=r"a.tif cannot be read: none of its values is a finite number"):
        open_picture(file, in_chans)


@pytest.mark.parametrize("in_chans", [1, 3])
def test_lab_colours_are_those_of_rgb(tmp_path, in_chans):
    rgb, lab = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
    red = Image.new("RGB", (4, 3), (200, 40, 60))
    ImageCms.profileToProfile(red, rgb, lab, outputMode="LAB").save(tmp_path / "a.tif")
    expected = np.asarray(red if in_chans == 3 else red.convert("L"))
    assert np.abs(np.asarray(open_picture(tmp_path / "a.tif", in_chans)).astype(int) - expected).max() <= 3


@pytest.mark.parametrize(
    "exif", [b"junk", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(20)), b"Exif\0\0" + bytes(99)]
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_that_cannot_be_parsed_leaves_the_picture_as_it_is_stored(tmp_path, suffix, exif):
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8, 4), (250, 250, 250)).save(file, exif=exif)
    assert open_picture(file, 3).size == (8, 4) and picture_fault(file) is None
    listing = Listing([file], [0], ["a"], [(0.0, 0.0, 4.0, 4.0)])
    data = PictureDataset(listing, img_size=(8, 8), in_chans=3, num_classes=1)
    assert data.boxes(0).tolist() == [[0.0, 0.0, 4.0, 8.0]]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_a_picture_is_turned_as_pillow_turns_it(tmp_path, suffix, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)).save(file, exif=exif)
    with Image.open(file) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(np.asarray(open_picture(file, 3)), expected)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tif"])
def test_a_line_of_pixels_is_a_picture(tmp_path, size, suffix):
    Image.new("RGB", size, (9, 9, 9)).save(tmp_path / f"a.{suffix}")
    assert picture_fault(tmp_path / f"a.{suffix}") is None
    data = PictureDataset(Listing([tmp_path / f"a.{suffix}"], [0], ["a"]), img_size=(8, 9), in_chans=3, num_classes=1)
    assert data[0].image.shape == (3, 8, 9) and (data[0].image.int() - 9).abs().max() <= 1


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_an_animation_is_its_first_picture(tmp_path, suffix):
    frames = [Image.new("RGB", (6, 5), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert np.asarray(open_picture(tmp_path / f"a.{suffix}", 3))[2, 2].tolist() == pytest.approx([250, 0, 0], abs=6)


def noise_set(augment=None):
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    listing = Listing(images, [0, 1, 0, 1], ["a", "b"])
    return PictureDataset(listing, img_size=(32, 32), in_chans=1, num_classes=2, augment=augment)


def augmented(sample):
    return changed(sample.image, sample.change).to(torch.uint8)


@pytest.mark.parametrize("policies", [[], ["trivial"]])
def test_augmentation_depends_on_its_seed_only(policies):
    data = noise_set(augmentation(augment=True, policies=policies))
    first = augmented(data[1, 7])
    torch.manual_seed(99)
    torch.rand(5)
    assert torch.equal(augmented(data[1, 7]), first)
    assert any(not torch.equal(augmented(data[1, seed]), first) for seed in range(8, 14))
    assert first.dtype == torch.uint8 and first.shape == (1, 32, 32)


def test_loading_a_sample_keeps_the_random_state():
    data = noise_set(augmentation(augment=True))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _ = data[0, 3]
    assert torch.equal(torch.rand(3), expected)


def test_without_augmentation_a_seed_changes_nothing():
    assert augmentation(augment=False) is None
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

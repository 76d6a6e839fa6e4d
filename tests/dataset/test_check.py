"""Check of picture files: unusual ones are accepted, unusable ones are named."""

import errno
import logging
import threading
import time

import numpy as np
import pytest
from PIL import Image

from dataset import DataError, Listing
from dataset.check import check_pictures, decoding_fault, find_conflicting_labels, find_unusable, picture_fault


def noise(size=(40, 30)):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def save(path, **options):
    noise().save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("grey.jpg", lambda p: noise().convert("L").save(p)),
        ("palette.png", lambda p: noise().convert("P").save(p)),
        ("palette.gif", lambda p: noise().convert("P").save(p)),
        ("rgba.png", lambda p: noise().convert("RGBA").save(p)),
        ("cmyk.jpg", lambda p: noise().convert("CMYK").save(p)),
        ("deep.png", lambda p: Image.fromarray(np.arange(100, dtype=np.uint16).reshape(10, 10)).save(p)),
        ("progressive.jpg", lambda p: noise().save(p, progressive=True)),
        ("flat.png", lambda p: noise((40, 1)).save(p)),
        ("flat.jpg", lambda p: noise((40, 1)).save(p)),
        ("bitmap.bmp", lambda p: noise().save(p)),
        ("a picture of another suffix.jpg", lambda p: noise().save(p, format="PNG")),
        ("more behind its end.jpg", lambda p: (noise().save(p), p.write_bytes(p.read_bytes() + bytes(9000)))),
    ],
)
def test_unusual_but_usable(tmp_path, name, write):
    write(tmp_path / name)
    assert picture_fault(tmp_path / name) is None


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [
        ("empty.jpg", lambda p: p.write_bytes(b""), "the file is empty"),
        ("text.jpg", lambda p: p.write_text("words"), "cannot identify image file"),
        ("cut.jpg", lambda p: p.write_bytes(save(p).read_bytes()[:-900]), "runcated"),
        ("cut.png", lambda p: p.write_bytes(save(p).read_bytes()[:-900]), ""),
        ("cut.bmp", lambda p: p.write_bytes(save(p).read_bytes()[:-900]), "truncated"),
        ("cut.gif", lambda p: p.write_bytes(save(p).read_bytes()[:-900]), "truncated"),
        ("header.png", lambda p: p.write_bytes(save(p).read_bytes()[:33]), "cannot identify"),
        ("cut.webp", lambda p: p.write_bytes(save(p).read_bytes()[:-900]), ""),
        ("nothing.tif", lambda p: Image.fromarray(np.full((3, 3), np.nan, np.float32)).save(p), "finite number"),
        ("missing.jpg", lambda p: None, "No such file or directory"),
        ("folder.jpg", lambda p: p.mkdir(), "Is a directory"),
    ],
)
def test_unusable(tmp_path, name, write, expected):
    write(tmp_path / name)
    fault = picture_fault(tmp_path / name)
    assert fault and expected in fault and "\n" not in fault


def test_a_decompression_bomb_is_not_opened(tmp_path, monkeypatch):
    save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # 1,200 pixels are more than twice that
    assert "decompression bomb" in picture_fault(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # large, but no bomb
    assert picture_fault(tmp_path / "large.png") is None


def test_a_picture_that_may_not_be_read(tmp_path, monkeypatch):
    path = save(tmp_path / "secret.png")

    def forbidden(*args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", forbidden)
    assert picture_fault(path) == "Permission denied"


def listing(tmp_path):
    good, twin, other = (save(tmp_path / f"{name}.png") for name in ("good", "twin", "other"))
    noise((41, 30)).save(other)
    bad = tmp_path / "bad.png"
    bad.write_text("words")
    return Listing([good, bad, twin, other], [0, 1, 1, 0], ["a", "b"])


def test_by_default_an_unusable_picture_is_an_error_and_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"1 of 4 pictures cannot be used: .*bad.png \(cannot identify .*skip"
    ) as caught:
        check_pictures(listing(tmp_path), "error")
    assert "\n" not in str(caught.value)


def test_skipped_pictures_are_counted_and_listed(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        kept = check_pictures(listing(tmp_path), "skip")
    assert [p.stem for p in kept.pictures] == ["good", "twin", "other"] and kept.labels == [0, 1, 0]
    assert "1 of 4 pictures are left out" in caplog.text and "bad.png" in caplog.text


def test_a_picture_in_two_classes_is_reported(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        check_pictures(listing(tmp_path), "skip")
    assert "1 pictures are in two classes" in caplog.text
    assert "good.png" in caplog.text and "twin.png" in caplog.text


def test_a_picture_twice_in_one_class_is_no_conflict(tmp_path):
    paths = [save(tmp_path / f"{i}.png") for i in range(2)]
    assert find_conflicting_labels(paths, [0, 0]) == [] and find_conflicting_labels(paths, [0, 1]) == [tuple(paths)]


def test_real_pictures_are_all_usable(real_data):
    files = sorted((real_data / "CUB_200_2011" / "images" / "001.Black_footed_Albatross").iterdir())
    assert len(files) == 60 and find_unusable(files) == {}


def test_an_interrupted_check_does_not_wait_for_a_stuck_disk(tmp_path, monkeypatch):
    disk = threading.Event()

    def check(path):
        if path.name == "0":
            raise KeyboardInterrupt
        disk.wait(30)

    monkeypatch.setattr("dataset.check.picture_fault", check)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            find_unusable([tmp_path / str(number) for number in range(40)])
        assert time.monotonic() - start < 10
    finally:
        disk.set()


def test_too_many_open_files_are_no_fault_of_the_pictures(tmp_path, picture_writer, monkeypatch):
    picture_writer(tmp_path / "a.png")

    def fail(*args, **kwargs):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Image, "open", fail)
    for read in (picture_fault, decoding_fault):  # else --bad_images skip would leave whole pictures out
        with pytest.raises(OSError, match="Too many open files"):
            read(tmp_path / "a.png")

"""Folders as people have them: which files are pictures, which folders are classes, and what is said of the rest."""

import logging

import pytest
from PIL import features

from dataset import DataError
from dataset.folder import list_folder, titled_pictures
from dataset.scan import picture_suffixes
from tools.console import first_time


def names(listing):
    return [picture.name for picture in listing.pictures]


@pytest.mark.parametrize(
    ("suffix", "feature"),
    [(s, None) for s in ("jpg", "JFIF", "jpe", "MPO", "tga", "Pbm", "PNM", "psd", "ico", "dds", "apng", "pcx", "qoi")]
    + [("avif", "avif"), ("JP2", "jpg_2000"), ("j2k", "jpg_2000"), ("WebP", "webp")],
)
def test_every_suffix_that_pillow_decodes_is_a_picture_whatever_its_case(tmp_path, picture_writer, suffix, feature):
    picture_writer(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "x.png").rename(tmp_path / "a" / f"x.{suffix}")
    picture_writer(tmp_path / "b" / "y.png")
    picture_writer(tmp_path / "b" / "z.png")
    known = feature is None or features.check(feature)
    assert (f"x.{suffix}" in names(list_folder(tmp_path, "train"))) == known


def test_what_pillow_only_recognises_is_no_picture():
    assert not picture_suffixes() & {".mpg", ".h5", ".grib", ".bufr", ".pdf", ".mp4"}
    assert {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"} <= picture_suffixes()


def test_without_its_library_a_format_is_no_picture(monkeypatch):
    monkeypatch.setattr("dataset.scan.features.check", lambda name: name != "avif")
    assert ".avif" not in picture_suffixes.__wrapped__() and ".jpg" in picture_suffixes.__wrapped__()


def test_pictures_below_a_class_folder_belong_to_the_class(tmp_path, picture_writer):
    for place in ("ant/a.png", "ant/2020/b.png", "ant/2020/may/c.JPG", "bee/@eaDir/d.png", "bee/e.png", "bee/f.png"):
        picture_writer(tmp_path / place)
    (tmp_path / "ant" / "2020" / "back").symlink_to(tmp_path / "ant", target_is_directory=True)  # a loop
    listing = list_folder(tmp_path, "train", val_ratio=0.01)
    both = [*names(listing), *names(list_folder(tmp_path, "val", val_ratio=0.01))]
    assert sorted(both) == ["a.png", "b.png", "c.JPG", "e.png", "f.png"] and listing.class_names == ["ant", "bee"]


@pytest.mark.parametrize("at", ["", "train"])
def test_folders_that_are_no_classes(tmp_path, picture_writer, caplog, at):
    root = tmp_path / at
    for name in ("ant", "bee", "__MACOSX", "@eaDir", "__pycache__", ".ipynb_checkpoints", "lost+found", ".git"):
        picture_writer(root / name / "1.png")
        picture_writer(root / name / "2.png")
    (root / "empty" / "below").mkdir(parents=True)
    (root / "texts").mkdir()
    (root / "texts" / "note.txt").write_text("words")
    if at:
        picture_writer(tmp_path / "val" / "ant" / "3.png")
        (tmp_path / "val" / "nothing").mkdir()  # would be a class that train/ does not have
    with caplog.at_level(logging.WARNING):
        listing = list_folder(tmp_path, "train")
    assert listing.class_names == ["ant", "bee"]
    (record,) = [r for r in caplog.records if "left out" in r.getMessage()]
    text = record.getMessage()
    assert f"left out of {root}: 5 folders of the system, such as {root / '.ipynb_checkpoints'}" in text
    assert f"2 folders without pictures, such as {root / 'empty'}" in text and "\n" not in text
    assert list_folder(tmp_path, "val").class_names == ["ant", "bee"]


def test_files_that_are_left_out_are_counted_with_an_example(tmp_path, picture_writer, caplog):
    for place in ("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png", "lost.png"):
        picture_writer(tmp_path / place)
    for place in ("ant/film.mp4", "bee/raw.nef", "bee/deep/notes.doc"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("x")
    with caplog.at_level(logging.WARNING):
        list_folder(tmp_path, "train")
    assert f"3 files that are not pictures, such as {tmp_path / 'ant' / 'film.mp4'}" in caplog.text
    assert f"1 picture outside of the class folders, such as {tmp_path / 'lost.png'}" in caplog.text
    assert len(caplog.records) == 1


def test_usual_files_beside_pictures_are_quiet(tmp_path, picture_writer, caplog):
    for place in ("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png"):
        picture_writer(tmp_path / place)
    usual = ("classes.txt", "README.md", "split.csv", "LICENSE", "ant/Thumbs.db", "ant/.DS_Store", "bee/desktop.ini",
             "bee/classes.txt", "bee/._1.png", ".DS_Store")  # fmt: skip
    for place in usual:
        (tmp_path / place).write_text("x")
    with caplog.at_level(logging.WARNING):
        assert len(list_folder(tmp_path, "train").pictures) == 2
    assert not caplog.records


def test_a_dataset_in_a_folder_of_its_archive_is_found(tmp_path, picture_writer):
    for place in ("ant/1.png", "ant/2.png", "bee/1.png", "bee/2.png"):
        picture_writer(tmp_path / "photos-v2" / "images" / place)
    (tmp_path / "__MACOSX" / "photos-v2").mkdir(parents=True)
    assert list_folder(tmp_path, "train").class_names == ["ant", "bee"]


def test_a_single_class_stays_a_class(tmp_path, picture_writer):
    picture_writer(tmp_path / "only" / "1.png")
    assert list_folder(tmp_path, "train").class_names == ["only"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, picture_writer, monkeypatch):
    picture_writer(tmp_path / "ant" / "1.png")

    def walk(top, followlinks, onerror):
        onerror(PermissionError(13, "Permission denied", str(top)))
        return iter(())

    monkeypatch.setattr("dataset.scan.os.walk", walk)
    with pytest.raises(DataError, match=r"the folder .*ant cannot be read: Permission denied; change"):
        list_folder(tmp_path, "train")


def test_folders_given_as_images_stand_for_their_pictures(tmp_path, picture_writer):
    picture_writer(tmp_path / "a" / "x.png")
    picture_writer(tmp_path / "a" / "deep" / "y.png")
    assert list(titled_pictures([str(tmp_path / "a")])) == ["x"]
    assert list(titled_pictures([str(tmp_path)])) == ["y", "x"]  # nothing of its own: all below


def test_a_note_that_is_logged_once_is_not_repeated():
    keep, notes = first_time(), []
    for text, once in (("a", True), ("a", True), ("b", True), ("c", False), ("c", False)):
        record = logging.makeLogRecord({"msg": text, **({"once": True} if once else {})})
        notes += [text] if keep(record) else []
    assert notes == ["a", "b", "c", "c"]

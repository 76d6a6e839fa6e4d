"""Text files of labels and boxes as people have saved them: read right, or an error that names file and line."""

import logging
import os
import re

import pytest

from dataset import DataError, Listing
from dataset.boxes import read_voc
from dataset.cub200 import list_cub200
from dataset.imagenet import list_imagenet
from dataset.pictures import PictureDataset
from dataset.tables import NumberedTable, read_columns, read_text

SIZE = "<size><width>40</width><height>30</height></size>"
VOC = f"<a>{SIZE}<object><bndbox><xmin>0</xmin><ymin>0</ymin>{{}}</bndbox></object></a>"
CORNER = "<xmax>20</xmax><ymax>30</ymax>"
COLUMNS = ("ImageId", "PredictionString")
SAVED = [lambda text: text.encode(), lambda text: text.encode("utf-8-sig"), lambda text: text.encode("latin-1"),
         lambda text: text.encode("utf-16"), lambda text: text.replace("\n", "\r\n").encode(),
         lambda text: (text + "\n \n\n").encode()]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return tmp_path / "table.txt"


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("form", ["{} {}", "{}\t{}", "{},{}", "{};{}", '{} "{}"', '"{}","{}"'])
def test_numbered_lines_are_read_however_they_are_saved(file, saved, form):
    file.write_bytes(saved("\n".join(form.format(n, v) for n, v in ((1, "a b.jpg"), (3, "é.jpg"), (1, "a b.jpg")))))
    table = NumberedTable(file)
    assert table == {1: "a b.jpg", 3: "é.jpg"} and table.at(3) == f"{file}, line 2"


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_tables_with_a_header_are_read_however_they_are_saved(file, saved, separator, quote):
    rows = [COLUMNS, ("a", "n01 1 2 3 4"), ("é", "n02 1 2 3 4"), ("a", "n01 1 2 3 4")]
    file.write_bytes(saved("\n".join(separator.join(f"{quote}{field}{quote}" for field in row) for row in rows)))
    assert read_columns(file, COLUMNS) == {"a": "n01 1 2 3 4", "é": "n02 1 2 3 4"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Image,PredictionString\n", "line 1: there is no column ImageId: the first line has to name"),
        ("", "line 1: there is no column ImageId"),
        ('ImageId,PredictionString\na,n01\nb,"n02\n' + "c,n03\n" * 30_000, "line 3: this cannot be read as a table"),
        ("ImageId,PredictionString\na,n01\n\nb,\n", "line 4: there is no PredictionString"),
        ("ImageId,PredictionString\na,n01\nb\n", "line 3: there is no PredictionString"),
        ("ImageId,PredictionString\na,n01\na,n02\n", "line 3: a has a line already, with another PredictionString"),
    ],
)
def test_a_table_that_cannot_be_right_is_an_error_with_its_line(file, text, message):
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_columns(file, COLUMNS)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


CUB = {
    "classes.txt": "1 001.Black_Swan\n2 002.Blue_Jay\n",
    "images.txt": "1 a/1.jpg\n2 b/2.jpg\n",
    "image_class_labels.txt": "1 1\n2 2\n",
    "train_test_split.txt": "1 1\n2 1\n",
    "bounding_boxes.txt": "1 1.0 2.0 3.0 4.0\n2 1 2 3 4\n",
}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "classes.txt",
            "1 001.Black_Swan\n3 003.Jay\n",
            r"image_class_labels.txt, line 2: class 2 is not in .*classes.txt",
        ),
        ("images.txt", "1 a/1.jpg\nb/2.jpg\n", r"images.txt has a line that is not .*, line 2: 'b/2.jpg'"),
        (
            "images.txt",
            "1 a/1.jpg\n2 b/2.jpg\n2 b/3.jpg\n",
            r"images.txt, line 3: number 2 has another value in line 2",
        ),
        ("image_class_labels.txt", "1 1\n2 7\n", r"image_class_labels.txt, line 2: class 7 is not in .*classes.txt"),
        ("image_class_labels.txt", "1 1\n2 x\n", r"image_class_labels.txt, line 2: class x is not in .*classes.txt"),
        ("images.txt", f"1 a/1.jpg\n{'9' * 5000} b/2.jpg\n", r"images.txt has a line that is not .*, line 2: '9{60}'"),
        ("image_class_labels.txt", f"1 1\n2 {'9' * 5000}\n", r"image_class_labels.txt, line 2: class 9{60} is not in"),
        ("train_test_split.txt", "1 1\n2 yes\n", r"train_test_split.txt, line 2: 'yes' is neither 1, training, nor 0"),
        ("train_test_split.txt", "1 1\n", "train_test_split.txt has no line for picture 2"),
    ],
)
def test_cub200_files_that_cannot_be_right_are_errors_with_their_line(tmp_path, name, text, message):
    for file, content in (CUB | {name: text}).items():
        (tmp_path / file).write_text(content)
    with pytest.raises(DataError, match=message):
        list_cub200(tmp_path, "train")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 1 2 x 4\n", "line 2 of .*bounding_boxes.txt does not give four numbers of a box: '2 1 2 x 4'"),
        ("2 1 2 nan 4\n", "line 2 of .* does not give four numbers"),
        ("2 1 2 0 4\n", "line 2 of .* does not give four numbers of a box"),
        ("2 1 2 3\n", "line 2 of .* does not give four numbers"),
        ("2\n", "line 2 of .* does not give four numbers"),
        ("1,2,3,4\n", "bounding_boxes.txt has no line for it|contradicts"),
        ("# none\n", "bounding_boxes.txt has no line for it"),
        (f"{'9' * 5000} 1 2 3 4\n", "bounding_boxes.txt has no line for it"),
        ("", "bounding_boxes.txt has no line for it"),
        ("2 1 2 3 4\n2 1 2 3 5\n", "line 3 of .* contradicts an earlier line of the same picture"),
    ],
)
def test_a_cub200_picture_without_a_box_is_left_out_and_counted(tmp_path, picture_writer, caplog, line, reason):
    for file, content in (CUB | {"bounding_boxes.txt": "1 1 2 3 4\n" + line}).items():
        (tmp_path / file).write_text(content)
    picture_writer(tmp_path / "images/a/1.jpg", size=(8, 8))
    data = PictureDataset(list_cub200(tmp_path, "train"), img_size=(8, 8), in_chans=3, num_classes=2)
    assert data.boxes(1).shape == (0, 4)
    with caplog.at_level(logging.WARNING):
        checked = data.without_bad_boxes()
    assert checked.boxes(1).shape == (0, 4)
    if not line.startswith("1,"):
        assert checked.boxes(0).tolist() == [[1.0, 2.0, 4.0, 6.0]]
        (record,) = caplog.records
        assert "1 of 2 pictures have no boxes and are left out of the metrics that need them" in record.getMessage()
        assert re.search(f"such as .*2.jpg .*{reason}", record.getMessage()) and "\n" not in record.getMessage()


def test_cub200_without_the_file_of_its_boxes_has_none(tmp_path, caplog):
    for file, content in CUB.items():
        (tmp_path / file).write_text(content)
    (tmp_path / "bounding_boxes.txt").unlink()
    with caplog.at_level(logging.WARNING):
        assert list_cub200(tmp_path, "train").boxes is None
    assert "bounding_boxes.txt cannot be read (No such file or directory): there are no boxes" in caplog.text


def test_cub200_with_windows_lines_and_separators(tmp_path):
    for file, content in CUB.items():
        (tmp_path / file).write_bytes(content.replace(" ", ";").replace("\n", "\r\n").encode("utf-8-sig"))
    listing = list_cub200(tmp_path, "train")
    assert listing.labels == [0, 1] and listing.class_names == ["Black Swan", "Blue Jay"]
    assert listing.boxes == [(1.0, 2.0, 4.0, 6.0)] * 2 and listing.pictures[0] == tmp_path / "images/a/1.jpg"


def test_pictures_with_missing_or_broken_box_files_are_left_out_and_counted(tmp_path, picture_writer, caplog):
    root, boxes = tmp_path / "ILSVRC/Data/CLS-LOC", tmp_path / "ILSVRC/Annotations/CLS-LOC/val"
    boxes.mkdir(parents=True)
    for wnid in ("n01440764", "n01443537"):
        picture_writer(root / "train" / wnid / "t.JPEG")
        for number in range(2):
            picture_writer(root / "val" / wnid / f"{wnid}_{number}.JPEG")
    (boxes / "n01440764_0.xml").write_text(VOC.format(CORNER))
    (boxes / "n01440764_1.xml").write_text("<a><size>")
    (boxes / "n01443537_0.xml").write_text(VOC.format("<xmax>nan</xmax><ymax>1</ymax>"))
    data = PictureDataset(list_imagenet(root, "val"), img_size=(30, 40), in_chans=3, num_classes=2)
    with caplog.at_level(logging.WARNING):
        checked = data.without_bad_boxes()
    assert [checked.boxes(i).tolist() for i in range(4)] == [[[0.0, 0.0, 20.0, 30.0]], [], [], []]
    (record,) = caplog.records
    assert "3 of 4 pictures have no boxes and are left out of the metrics that need them" in record.getMessage()
    assert "n01440764_1.xml cannot be read" in record.getMessage() and "\n" not in record.getMessage()


def test_data_without_boxes_need_no_check():
    data = PictureDataset(Listing([], [], ["a"]), img_size=(8, 8), in_chans=3, num_classes=1)
    assert data.without_bad_boxes() is data


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["pipe", "folder", "/dev/zero"])
def test_a_table_that_is_no_file_does_not_block(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=f"{name} is a pipe, a device or a folder: give a text file"):
        read_text(tmp_path / name)
    with pytest.raises(DataError, match="it is a pipe, a device or a folder"):
        read_voc(tmp_path / name)

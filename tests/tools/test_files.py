import csv

import pytest

from tools import ToolError, files


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "a"
    files.write_atomically(path, b"old")
    with pytest.raises(KeyboardInterrupt), files.atomic_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match=r"the folder .*file/out cannot be written \(Not a directory\)"):
        files.writable_folder(tmp_path / "file" / "out")


def test_rows_are_written_as_csv(tmp_path):
    rows = [{"name": "a, b", "top1": 0.5}, {"name": "c", "top1": 1}]
    files.save_csv(tmp_path / "a.csv", rows)
    with (tmp_path / "a.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"name": "a, b", "top1": "0.5"}, {"name": "c", "top1": "1"}]

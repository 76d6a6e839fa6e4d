"""Records in the user's cache: read as written, or not at all."""

import threading
from pathlib import Path

import numpy as np
import pytest

from tools import array_record
from tools.array_record import ArrayRecord, cache_folder


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setenv("SCOUTER_CACHE", str(tmp_path / "cache"))
    return ArrayRecord("things", "/data/a", version="1")


def test_arrays_come_back(record, caplog):
    assert record.load() is None
    arrays = {"a": np.arange(5), "b": np.ones((2, 0), bool)}
    record.save(arrays)
    found = record.load()
    assert found.keys() == arrays.keys() and all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert found["b"].shape == (2, 0) and [path.name for path in record.path.parent.iterdir()] == [record.path.name]
    assert not caplog.records


def damaged(path):
    content = path.read_bytes()
    yield content[: len(content) // 2]
    yield b""
    yield b"words"
    yield content[:200] + bytes(20) + content[220:]
    for place in range(40, len(content), 37):
        yield content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


def test_a_damaged_record_is_never_an_error_nor_other_numbers(record, caplog):
    record.save({"a": np.arange(50)})
    whole = record.path.read_bytes()
    ignored = 0
    for content in damaged(record.path):
        caplog.clear()
        record.path.write_bytes(content)
        found = record.load()
        if found is None:
            [line] = [entry.getMessage() for entry in caplog.records]
            assert "is ignored and made anew (" in line and "\n" not in line
            ignored += 1
        else:  # the change was in a part without meaning, such as a date
            assert np.array_equal(found["a"], np.arange(50))
    assert ignored > 10
    record.path.write_bytes(whole)
    assert np.array_equal(record.load()["a"], np.arange(50))


def test_a_record_of_another_folder_version_or_program_is_ignored(record, caplog):
    record.save({"a": np.arange(3)})
    for kind, subject, version in (("things", "/data/b", "1"), ("things", "/data/a", "2"), ("other", "/data/a", "1")):
        other = ArrayRecord(kind, subject, version=version)
        other.path = record.path
        assert other.load() is None
    assert len(caplog.records) == 3
    with record.path.open("wb") as file:
        np.savez(file, x=np.arange(3))
    assert record.load() is None
    with record.path.open("wb") as file:  # would run code if it were read
        np.savez(file, header=np.array([object()], dtype=object))
    assert record.load() is None


def test_without_a_folder_that_can_be_written_there_is_a_note(record, caplog, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    record.save({"a": np.arange(3)})
    [line] = [entry.getMessage() for entry in caplog.records]
    assert "cannot be written" in line and "SCOUTER_CACHE names another folder" in line
    assert record.load() is None
    monkeypatch.setenv("SCOUTER_CACHE", "")
    off = ArrayRecord("things", "/data/a", version="1")
    off.save({"a": np.arange(3)})
    assert off.path is None and off.load() is None and len(caplog.records) == 1


def test_two_writers_leave_the_whole_record_of_one(record):
    """Each reader meanwhile sees a whole record: all numbers are those of one writer."""
    ended, wrong = threading.Event(), []

    def write(number):
        while not ended.is_set():
            record.save({"a": np.full(5000, number)})

    record.save({"a": np.full(5000, 0)})
    writers = [threading.Thread(target=write, args=(number,)) for number in (1, 2)]
    for writer in writers:
        writer.start()
    for _ in range(100):
        found = record.load()
        wrong += [] if found is not None and len(set(found["a"].tolist())) == 1 else [found]
    ended.set()
    for writer in writers:
        writer.join()
    assert not wrong and len(list(record.path.parent.iterdir())) == 1


def test_the_folder_is_that_of_the_variable_else_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SCOUTER_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("SCOUTER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "scouter"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(array_record.Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == tmp_path / "home" / ".cache" / "scouter"


def test_a_folder_that_may_not_be_entered_is_no_error(record, caplog, monkeypatch):
    record.save({"a": np.arange(3)})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(record.path))

    monkeypatch.setattr(Path, "is_file", refuse)  # what Python does up to 3.13 where a folder may not be entered
    monkeypatch.setattr(np, "load", refuse)
    assert record.load() is None
    assert "is ignored and made anew ([Errno 13] Permission denied" in caplog.text

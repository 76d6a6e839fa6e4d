import csv
import errno
import io
import os
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from dataset import DataError
from dataset.pictures import open_picture
from dataset.similarity import read_lsc
from tools import ToolError, checkpoint, files
from tools.figures.saving import save_picture
from tools.flags import Parser


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
    files.save_csv(tmp_path / "a.csv", rows, columns=("name",))
    with (tmp_path / "a.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"name": "a, b", "top1": "0.5"}, {"name": "c", "top1": "1"}]


def test_a_long_table_is_written_row_by_row(tmp_path):
    rows = ([number, "x" * 1000] for number in range(10_000))
    tracemalloc.start()
    files.save_long_csv(tmp_path / "a.csv", ["number", "text"], rows, columns=["number"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert len(lines) == 10_001 and lines[0] == "number,text" and lines[-1] == f"9999,{'x' * 1000}"
    assert peak < 1e6  # the file has 10 MB


def test_a_page_never_replaces_something_else(tmp_path):
    mark = b"Content-Security-Policy"
    read, foreign, own, pipe = (tmp_path / name for name in ("a.pth", "thesis.html", "report.html", "pipe"))
    read.write_bytes(b"weights")
    foreign.write_bytes(b"<html>")
    own.write_bytes(b"<meta " + mark)
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(read)
    for path, reason in (
        (tmp_path, "is a folder"), (pipe, "is a device or a pipe"), (Path("/dev/null"), "is a device or a pipe"),
        (read, "is a file that this run reads"), (tmp_path / "link", "is a file that this run reads"),
        (foreign, "exists and is no report of this program"),
    ):  # fmt: skip
        with pytest.raises(ToolError, match=reason):
            files.check_report_file(path, mark, inputs=[None, read])
    for path in (own, tmp_path / "new.html"):
        files.check_report_file(path, mark, inputs=[read])


def test_drawings_never_go_into_a_folder_of_inputs(tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "pipe"):
        with pytest.raises(ToolError, match="is not a folder"):
            files.check_folder(tmp_path / name, "--vis_dir", inputs=[])
    with pytest.raises(ToolError, match=r"--vis_dir .* is a folder that this run reads"):
        files.check_folder(tmp_path / "x" / "..", "--vis_dir", inputs=[None, tmp_path])
    files.check_folder(tmp_path / "new", "--vis_dir", inputs=[tmp_path])


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path, capsys):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="it is not a file"):
        open_picture(pipe, 3)
    with pytest.raises(DataError, match=r"--lsc .* it is not a file"):
        read_lsc(pipe, ["a", "b"])
    with pytest.raises(ToolError, match="not a file"):
        checkpoint.read_file(pipe)
    for device in (pipe, "/dev/zero"):
        with pytest.raises(SystemExit) as caught:
            Parser(fromfile_prefix_chars="@").read([f"@{device}"])
        assert caught.value.code == 2 and "is not a file" in capsys.readouterr().err


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a"
    with files.atomic_file(path) as first:
        first.write(b"first")
        with files.atomic_file(path) as second:
            second.write(b"second, longer")
        assert path.read_bytes() == b"second, longer"
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_a_symbolic_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    for name in ("a", "a.part"):
        (tmp_path / name).symlink_to("precious")
    files.write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious" and (tmp_path / "a").read_bytes() == b"new"
    umask = os.umask(0o022)
    os.umask(umask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_leftover_of_a_killed_program_is_removed_and_the_file_of_a_living_one_is_not(tmp_path):
    old, new, other = (tmp_path / name for name in ("a[1].0123abcd.part", "a[1].4567cdef.part", "film.part"))
    for part in (old, new, other):
        part.touch()
    for part in (old, other):
        os.utime(part, (1, 1))
    files.write_atomically(tmp_path / "a[1]", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a[1]", new.name, other.name]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    files.write_atomically(tmp_path / "a", b"old")
    message = r"a cannot be written \(No space left on device\): .* free some space"
    with pytest.raises(ToolError, match=message), files.atomic_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (tmp_path / "a").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def disk_of(monkeypatch):
    """Makes a disk on which so many bytes of a file have space; beyond, an error of this number is raised."""

    def limit(space: int, number: int) -> None:
        def write(self, data):
            if self.tell() + memoryview(data).nbytes > space:
                raise OSError(number, os.strerror(number))
            return io.FileIO.write(self, data)

        monkeypatch.setattr(files._PartFile, "_put", write)
        monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=space))

    return limit


def test_a_full_disk_says_how_much_is_needed_and_how_much_is_free(tmp_path, disk_of):
    disk_of(3072, errno.ENOSPC)
    with pytest.raises(ToolError) as caught:
        files.write_atomically(tmp_path / "a", bytes(2**20))
    assert str(caught.value) == (
        f"{tmp_path / 'a'} cannot be written (No space left on device): it takes 1.0 MiB, 3.0 KiB are free: free some "
        "space; nothing saved before is lost"
    )
    with pytest.raises(ToolError, match=r"it takes 4\.\d MiB, 3\.0 KiB are free"):  # torch raises no error of its own
        checkpoint.save(tmp_path / "a", {"weights": torch.zeros(2**20)})
    with pytest.raises(ToolError, match=r"it takes [\d.]+ KiB, 3\.0 KiB are free"):
        save_picture(tmp_path / "a.png", Image.effect_noise((99, 99), 50))
    assert not list(tmp_path.iterdir())
    files.write_atomically(tmp_path / "a", bytes(3072))


def test_a_full_quota_and_a_limit_on_the_size_of_a_file_have_their_own_remedy(tmp_path, disk_of):
    for number, remedy in (
        (errno.EDQUOT, "more than your quota has left"),
        (errno.EFBIG, "more than the limit on the size"),
    ):
        disk_of(10, number)
        with pytest.raises(ToolError, match=f"it takes 99 B, {remedy}"):
            files.write_atomically(tmp_path / "a", bytes(99))
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_created_is_named_and_not_its_temporary_file(tmp_path):
    with pytest.raises(ToolError, match=r"missing/a cannot be written \(No such file or directory\): check"):
        files.write_atomically(tmp_path / "missing" / "a", b"")


def test_a_clock_that_was_set_back_does_not_remove_the_file_of_a_living_writer(tmp_path, monkeypatch):
    part = tmp_path / "a.0123abcd.part"
    part.touch()
    for now in (time.time() - 10 * files.SECONDS_TO_LEFTOVER, time.time() + 10 * files.SECONDS_TO_LEFTOVER):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        files._cleared.clear()
        files.write_atomically(tmp_path / "a", b"")
        assert part.exists()


@pytest.mark.timeout(20)
def test_only_a_file_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    for name, kind in (("pipe", "is a pipe"), ("link", "is a pipe"), ("folder", "is a folder")):
        with pytest.raises(ToolError, match=kind):
            files.write_atomically(tmp_path / name, b"")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 3


def test_a_foreign_table_is_kept_and_an_own_one_is_replaced(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("name,price\n")
    for _ in range(2):
        files.save_csv(path, [{"checkpoint": "a", "method": "b"}], columns=("checkpoint", "method"))
    assert (tmp_path / "metrics.kept.csv").read_text() == "name,price\n" and len(list(tmp_path.iterdir())) == 2


def test_only_the_first_file_of_a_folder_looks_for_leftovers(tmp_path, monkeypatch):
    files.write_atomically(tmp_path / "a", b"")
    monkeypatch.setattr(Path, "glob", None)  # which takes longer with each further file
    files.write_atomically(tmp_path / "b", b"")

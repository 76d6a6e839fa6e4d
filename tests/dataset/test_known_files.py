"""Files that an earlier start has checked are not read again, unless they have changed."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset import DataError, Listing
from dataset import check as checking
from dataset.check import check_pictures, picture_fault, same_content, warn_of_shared
from dataset.known_files import KnownFiles, threaded


class Starts:
    """Starts of a script on one folder, with the record of the one before."""

    def __init__(self, root, monkeypatch):
        self.root, self.record, self.checked, self.read, self.stores = root, None, [], [], 0
        monkeypatch.setattr(checking, "picture_fault", self._fault)
        whole = Path.open

        def opened(path, *args, **options):
            if path.is_relative_to(root):
                self.read.append(path.stem)
            return whole(path, *args, **options)

        monkeypatch.setattr(Path, "open", opened)

    def _fault(self, path):
        self.checked.append(path.stem)
        return picture_fault(path)

    def store(self, arrays):
        self.record, self.stores = arrays, self.stores + 1

    def __call__(self, bad_images="skip", paths=None):
        """Check the pictures of the folder, in classes by the first letter; returns the names of those checked."""
        self.checked, self.read = [], []
        files = sorted(self.root.iterdir()) if paths is None else paths
        names = sorted({file.stem[0] for file in files})
        listing = Listing(files, [names.index(file.stem[0]) for file in files], names)
        check_pictures(listing, bad_images, KnownFiles(self.root, self.record, self.store))
        return sorted(self.checked)


def picture(path, shade):
    """A PNG picture of four noisy pixels whose file has always the same size."""
    Image.fromarray(np.full((2, 2, 3), shade, np.uint8)).save(path)


@pytest.fixture
def starts(tmp_path, monkeypatch):
    root = tmp_path / "pictures"
    root.mkdir()
    for number, name in enumerate(("a1", "a2", "b1", "b2")):
        picture(root / f"{name}.png", 10 * number)
    return Starts(root, monkeypatch)


def test_a_second_start_reads_nothing(starts):
    assert starts() == ["a1", "a2", "b1", "b2"] and starts.stores == 1
    assert starts() == [] and starts.read == [] and starts.stores == 1


def test_another_size_or_another_time_is_checked_again_and_a_new_file_is_checked(starts):
    starts()
    with (starts.root / "a1.png").open("ab") as file:
        file.write(b"more")
    os.utime(starts.root / "a1.png", ns=(0, starts.record["mtime"][0]))  # the size alone differs
    os.utime(starts.root / "b1.png", ns=(0, 1))
    picture(starts.root / "b3.png", 99)
    assert starts() == ["a1", "b1", "b3"] and starts() == []


def test_a_file_that_is_damaged_after_its_check_is_found(starts):
    starts()
    (starts.root / "a2.png").write_bytes(b"words")
    with pytest.raises(DataError, match=r"1 of 4 pictures cannot be used: .*a2.png"):
        starts("error")
    assert starts() == ["a2"] and starts() == ["a2"]  # it may become readable without a change


def test_a_removed_file_is_forgotten_and_one_of_another_split_is_not(starts):
    starts()
    (starts.root / "a1.png").unlink()
    picture(starts.root / "b3.png", 99)
    assert starts(paths=[starts.root / "b1.png", starts.root / "b3.png"]) == ["b3"]
    names = bytes(starts.record["names"]).decode().split("\0")
    assert names == ["a2.png", "b1.png", "b2.png", "b3.png"]
    assert starts() == []


def test_duplicates_are_found_in_the_record_and_after_a_change(starts, caplog):
    (starts.root / "b9.png").write_bytes((starts.root / "a1.png").read_bytes())
    starts()
    assert "1 pictures are in two classes, such as" in caplog.text and "b9.png" in caplog.text
    caplog.clear()
    assert starts() == [] and starts.read == [] and "1 pictures are in two classes" in caplog.text
    caplog.clear()
    picture(starts.root / "b9.png", 77)
    os.utime(starts.root / "b9.png", ns=(0, 2))
    assert starts() == ["b9"] and "two classes" not in caplog.text
    caplog.clear()
    (starts.root / "b1.png").write_bytes((starts.root / "a2.png").read_bytes())
    os.utime(starts.root / "b1.png", ns=(0, 3))
    starts()
    assert "1 pictures are in two classes" in caplog.text and "b1.png" in caplog.text


def test_digests_serve_the_comparison_of_splits_too(starts, caplog):
    files = sorted(starts.root.iterdir())
    files[3].write_bytes(files[0].read_bytes())
    train, val = Listing(files[:2], [0, 0], ["a"]), Listing(files[2:], [0, 0], ["a"])
    for _ in range(2):
        caplog.clear()
        starts.read = []
        warn_of_shared(train, val, known=KnownFiles(starts.root, starts.record, starts.store))
        assert "1 of 2 validation pictures are training pictures, too" in caplog.text
    assert starts.read == []


def test_same_content_as_a_comparison_of_all_pairs(tmp_path):
    """Against a plain loop over random files of few sizes, few contents and several groups."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        paths, contents = [], [rng.bytes(int(size)) for size in rng.integers(1, 4, 12)]
        for number, choice in enumerate(rng.integers(0, 12, 20)):
            paths.append(tmp_path / str(number))
            paths[-1].write_bytes(contents[choice])
        groups = rng.integers(0, 3, 20).tolist()
        found = same_content(paths, groups)
        by_content = {}
        for number, path in enumerate(paths):
            by_content.setdefault(path.read_bytes(), []).append(number)
        expected = [same for same in by_content.values() if len({groups[number] for number in same}) > 1]
        assert found == expected


def test_the_middle_of_a_large_file_counts(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, middle in zip(paths, (b"x", b"y", b"x"), strict=True):
        path.write_bytes(bytes(9000) + middle + bytes(9000))
    assert same_content(paths, [0, 1, 2]) == [[0, 2]]


def test_digests_of_large_files_follow_the_files(tmp_path):
    stored = []

    def write(path, middle, time):
        path.write_bytes(bytes(9000) + middle + bytes(9000))
        os.utime(path, ns=(0, time))

    def compare(*paths):
        known = KnownFiles(tmp_path, stored[-1] if stored else None, stored.append)
        same = same_content(paths, range(len(paths)), known)
        known.save()
        return same

    a, b, c, d = paths = [tmp_path / name for name in "abcd"]
    for path, middle in zip(paths, (b"x", b"x", b"y", b"z"), strict=True):
        write(path, middle, 1)
    assert compare(*paths) == [[0, 1]]
    a.unlink()
    write(b, b"z", 2)
    assert compare(b, c, d) == [[0, 2]]  # the digest of b is new, and the rows of all have moved
    write(c, b"z", 1)  # as if unchanged: its digest is that of the record
    assert compare(b, c, d) == [[0, 2]] and len(stored) == 2


@pytest.mark.parametrize("root", ["pictures", "./pictures/", "pictures/."])
def test_a_folder_is_the_same_however_it_is_written(starts, tmp_path, monkeypatch, root):
    starts()
    monkeypatch.chdir(tmp_path)
    known = KnownFiles(Path(root), starts.record)
    rows = known.look_up(sorted(Path(root).iterdir()))
    assert known.checked[rows].all() and len(known.rows) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("size"),
        lambda record: record.update(size=record["size"][:2]),
        lambda record: record.update(size=record["size"].astype(float)),
        lambda record: record.update(ends=record["ends"][:, :3]),
        lambda record: record.update(content=np.zeros((3, 32), np.uint8)),
        lambda record: record.update(names=np.frombuffer(b"a1.png\0a1.png\0b1.png\0b2.png", np.uint8)),
        lambda record: record.update(names=record["names"][None]),
    ],
)
def test_arrays_that_do_not_fit_together_are_no_record(starts, change):
    starts()
    record = dict(starts.record)
    change(record)
    with pytest.raises((ValueError, KeyError)):
        KnownFiles(starts.root, record)


def test_an_empty_record_and_names_that_are_no_text(starts):
    starts()
    for file in starts.root.iterdir():
        file.unlink()
    raw = Path(os.fsdecode(os.fsencode(starts.root) + b"/a\xff.png"))
    picture(raw, 1)
    assert starts() == [raw.stem] and starts() == []
    raw.unlink()
    known = KnownFiles(starts.root, starts.record, starts.store)
    known.changed = True
    known.save()
    assert KnownFiles(starts.root, starts.record).rows == {}


def test_results_of_threads_are_in_order():
    done = []
    assert threaded(lambda number: 2 * number, range(1000), done.append) == list(range(0, 2000, 2))
    assert sum(done) == 1000 and threaded(str, []) == []


def test_a_file_that_can_no_longer_be_read_is_the_same_as_no_other(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(b"the same")
    assert same_content(paths, [0, 1, 2]) == [[0, 1, 2]]
    whole = Path.open

    def opened(path, *args, **options):
        if path == paths[1]:
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *args, **options)

    monkeypatch.setattr(Path, "open", opened)
    known = KnownFiles()
    assert same_content(paths, [0, 1, 2], known) == [[0, 2]]
    monkeypatch.setattr(Path, "open", whole)
    assert same_content(paths, [0, 1, 2], known) == [[0, 1, 2]]  # nothing of the fault was remembered
    rows = known.look_up([paths[0]])
    paths[0].unlink()
    known.content.clear()
    assert known.content_digests(rows, [paths[0]]) == [None]

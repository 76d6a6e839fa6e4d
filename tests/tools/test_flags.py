import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.flags import Parser, boolean, comma_list, number, numbers, one_of, resume, size


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 20)), min_size=1, max_size=5))
def test_ranges_are_expanded_in_their_order(ranges):
    text = ",".join(f"{low}-{low + more}" if more else str(low) for low, more in ranges)
    assert numbers(text) == tuple(n for low, more in ranges for n in range(low, low + more + 1))


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (size, "260", (260, 260)), (size, "192x256", (192, 256)), (boolean, "Yes", True), (boolean, "0", False),
        (resume, "true", "auto"), (resume, "no", None), (resume, "a.pth", "a.pth"),
        (comma_list(number(int, low=1)), "1, 3", (1, 3)), (number(float, above=0, below=1), "0.5", 0.5),
    ],
)  # fmt: skip
def test_valid_values(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (numbers, "5-2", "'5-2' is not a list of numbers or ranges (0, or 0,4,7, or 0-9)"),
        (numbers, "0-10000", "'0-10000' names more than 10000 pictures"),
        (boolean, "maybe", "'maybe' is neither true nor false (true/false/yes/no/1/0)"),
        (number(int), "x", "'x' is not a whole number"),
        (number(int, low=1), "0", "0 is not a whole number of at least 1"),
        (number(float, above=0), "nan", "nan is not a number above 0"),
        (number(float, below=1), "1", "1 is not a number below 1"),
        (number(int, high=5), "6", "6 is above 5, the largest value allowed"),
        (number(int, multiple_of=4), "6", "6 is not a multiple of 4"), (one_of("a", "b"), "c", "'c' is none of a, b"),
    ],
)  # fmt: skip
def test_invalid_values_are_reported(parse, text, message):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        parse(text)
    assert str(caught.value) == message


def parser_of_files():
    parser = Parser(prog="x", fromfile_prefix_chars="@")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--names", nargs="*")
    return parser


def test_an_argument_file_has_several_flags_per_line_and_comments(tmp_path):
    (tmp_path / "a.txt").write_text("--lr 0.5 --names 'a b' c  # comment\n")
    args = parser_of_files().read([f"@{tmp_path / 'a.txt'}"])
    assert args.lr == 0.5 and args.names == ["a b", "c"]


def test_a_comment_of_an_argument_file_begins_before_a_word(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\ufeff--names run#3 '# d' \"e #\\\" f\" g\\#h --lr 0.5 # it's\n#--lr 1\n", encoding="utf-8")
    args = parser_of_files().read([f"@{file}"])
    assert args.names == ["run#3", "# d", 'e #" f', "g#h"] and args.lr == 0.5


@pytest.mark.parametrize(
    ("environment", "shown"),
    [({"RANK": "1"}, True), ({"RANK": "1", "WORLD_SIZE": "2"}, False), ({"RANK": "x", "WORLD_SIZE": "2"}, True),
     ({"SLURM_PROCID": "1"}, False), ({}, True)],
)  # fmt: skip
def test_only_another_rank_of_a_launch_is_silent(monkeypatch, capsys, environment, shown):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tools.flags.SECONDS_FOR_RANK_0", 0)
    with pytest.raises(SystemExit):
        parser_of_files().error("wrong")
    assert ("wrong" in capsys.readouterr().err) == shown


def test_an_argument_file_on_windows_has_paths_with_backslashes(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(r"--names C:\photos\train '\\server\my share'")
    monkeypatch.setattr("tools.flags.ESCAPE", "")
    assert parser_of_files().read([f"@{tmp_path / 'a.txt'}"]).names == [r"C:\photos\train", r"\\server\my share"]
    monkeypatch.undo()
    (tmp_path / "a.txt").write_text(r"--names a\ b")
    assert parser_of_files().read([f"@{tmp_path / 'a.txt'}"]).names == ["a b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"--names 'a", "the line '--names 'a' of an argument file cannot be read: no closing quotation"),
        (b"--names \xff", "an argument file is not text in UTF-8"),
        (b"--rl 1", "unrecognized arguments: --rl 1: did you mean --lr?"),
        (None, "the argument file {path} cannot be read: No such file or directory"),
    ],
)
def test_an_error_of_an_argument_file_is_one_line(tmp_path, capsys, content, message):
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        parser_of_files().read([f"@{path}"])
    line = capsys.readouterr().err
    assert (
        caught.value.code == 2 and line.startswith(f"x: error: {message.format(path=path)}") and line.count("\n") == 1
    )

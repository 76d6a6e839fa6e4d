import pytest

from tools.text import rounded_sum, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2J\x07b", r"a\x1b[2J\x07b"),
        ("one\ntrain.py: error: forged\r", r"one\ntrain.py: error: forged\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("caf\udce9", r"caf\udce9"),
        ("line\u2028end", r"line\u2028end"),
        ("猫 قط 🐈\u200d⬛ $x_1$ ^ \\ % < \"'", "猫 قط 🐈\u200d⬛ $x_1$ ^ \\ % < \"'"),
    ],
)
def test_what_controls_a_terminal_becomes_its_escape_and_all_else_stays(text, shown):
    assert visible(text) == shown


def test_line_ends_of_a_table_can_be_kept():
    assert visible("a\n\x1bb", keep="\n") == "a\n\\x1bb"


def test_the_rounded_terms_of_a_sum_add_up():
    # Each rounded by itself, the terms would make 3.0.
    assert rounded_sum(2.92, 3.34, -0.04) == [3.3, 0.0, -0.4]
    assert rounded_sum(-1.75, 3.64, -1.87) == [3.6, -1.9, -3.5]


def test_a_rounded_zero_has_no_sign():
    assert str(rounded_sum(-0.04, -0.03)) == "[0.0, 0.0]"

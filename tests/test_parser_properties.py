"""What is written as text and read again is what it was."""

import argparse
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.distributed.slurm import first_host, tasks_per_node
from tools.flags import boolean, comma_list, number, numbers, size

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=60)
SPACE = st.sampled_from(["", " ", "  "])
PARTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 40), SPACE, SPACE), min_size=1, max_size=6)


@QUICK
@given(PARTS)
def test_numbers_and_ranges_are_what_they_name_in_the_order_named(parts):
    text = ",".join(f"{a}{low}{'-' + str(low + more) if more else ''}{b}" for low, more, a, b in parts)
    expected = tuple(n for low, more, _, _ in parts for n in range(low, low + more + 1))
    assert numbers(text) == expected
    assert numbers(",".join(map(str, expected))) == expected


@QUICK
@given(st.integers(0, 500), st.integers(1, 500))
def test_a_range_that_runs_down_is_none(low, more):
    with pytest.raises(argparse.ArgumentTypeError):
        numbers(f"{low + more}-{low}")


@QUICK
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_size_is_height_by_width(height, width):
    assert size(f"{height}x{width}") == (height, width)
    assert size(f"{height}") == (height, height)


@QUICK
@given(
    st.integers(1, 5000), st.sampled_from(["{}x0", "{}x00", "0x{}", "{}x", "x{}", "{}x2x3", "-{}", "{}.5", "{} x 3"])
)
def test_what_is_no_size_is_refused(side, form):
    with pytest.raises(argparse.ArgumentTypeError):
        size(form.format(side))


@QUICK
@given(st.lists(st.tuples(st.integers(-99, 99), SPACE, SPACE), min_size=1, max_size=6))
def test_a_comma_list_keeps_its_values_and_their_order(entries):
    text = ",".join(f"{before}{value}{after}" for value, before, after in entries)
    assert comma_list(int)(text) == tuple(value for value, _, _ in entries)


@QUICK
@given(st.floats(-1e6, 1e6), st.sampled_from([0, 1, 2.5]), st.booleans())
def test_a_number_is_taken_as_it_is_from_its_bound_on(value, low, above):
    parse = number(float, above=low) if above else number(float, low=low)
    if value > low or (value == low and not above):
        assert parse(repr(value)) == value
    else:
        with pytest.raises(argparse.ArgumentTypeError):
            parse(repr(value))


@QUICK
@given(st.booleans(), st.data())
def test_a_truth_is_read_in_any_case(value, data):
    word = data.draw(st.sampled_from(["true", "yes", "1"] if value else ["false", "no", "0"]))
    written = "".join(data.draw(st.sampled_from([letter, letter.upper()])) for letter in word)
    assert boolean(written) is value


NAME = st.from_regex(r"[a-z][a-z0-9]{0,3}(-[a-z]{1,3})?", fullmatch=True)


@st.composite
def node_lists(draw):
    """A list as Slurm writes it, and its first host: names, some with numbers in brackets, some with a tail."""
    texts, first = [], None
    for _ in range(draw(st.integers(1, 4))):
        text = host = draw(NAME)
        for _ in range(draw(st.integers(0, 2))):
            digits = draw(st.integers(1, 4))
            entries, begin = [], None
            for _ in range(draw(st.integers(1, 3))):
                low, more = draw(st.integers(0, 8)), draw(st.integers(0, 1))
                begin = begin or f"{low:0{digits}}"
                entries.append(f"{low:0{digits}}" + f"-{low + more:0{digits}}" * more)
            tail = draw(st.sampled_from(["", "x", "-ib"]))
            text, host = f"{text}[{','.join(entries)}]{tail}", f"{host}{begin}{tail}"
        texts.append(text)
        first = first or host
    return ",".join(texts), first


@QUICK
@given(node_lists(), SPACE)
def test_the_first_host_of_a_node_list_is_that_of_the_first_task(drawn, space):
    text, first = drawn
    assert first_host(text + space) == first


@QUICK
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_tasks_per_node_are_read_as_slurm_shortens_them(counts):
    runs = [(count, len(list(group))) for count, group in itertools.groupby(counts)]
    text = ",".join(f"{count}(x{length})" if length > 1 else str(count) for count, length in runs)
    assert tasks_per_node(text) == counts

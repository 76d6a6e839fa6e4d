"""Silence in several threads."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from dataset.quiet import without_warnings


def test_the_filters_are_restored_whichever_thread_leaves_first():
    before, inside, left = [*warnings.filters], Event(), Event()

    def second():
        with without_warnings():
            inside.set()
            assert left.wait(10)
            warnings.warn("not seen", stacklevel=1)

    with ThreadPoolExecutor(1) as pool, pytest.warns(UserWarning) as seen:
        with without_warnings():
            job = pool.submit(second)
            assert inside.wait(10)
        left.set()
        job.result()
        warnings.warn("seen", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["seen"] and warnings.filters == before

"""State of a training run that was stopped in an epoch, on data that changed since."""

import logging
from types import SimpleNamespace

import pytest

from engine.session import Session


@pytest.mark.parametrize(
    ("stopped", "same"),
    [
        ({"images": 40, "pictures": 100}, True),
        ({"images": 40, "pictures": 90}, False),
        ({"images": 40, "pictures": 120}, False),
        ({"images": 40}, True),  # of an earlier version
        ({"images": 100}, False),
    ],
)
def test_an_epoch_is_continued_only_on_as_many_pictures(stopped, same, caplog):
    session = SimpleNamespace(train_loader=SimpleNamespace(dataset=range(100)))
    with caplog.at_level(logging.WARNING):
        assert Session._same_size(session, stopped) == same
    assert len(caplog.records) == (not same)
    if not same:
        message = caplog.records[0].getMessage()
        assert message.startswith("there are 100 training pictures, and there were ") and "\n" not in message
        assert str(stopped.get("pictures", "at least 100")) in message

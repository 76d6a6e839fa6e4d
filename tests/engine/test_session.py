"""State of a training run that was stopped in an epoch, on data that changed since."""

import logging
from types import SimpleNamespace

import pytest
import torch

from engine.session import Session


@pytest.mark.parametrize(("done", "share"), [(4, 0.0), (5, 0.5), (6, 1.0), (7, 1.0), (3, 0.0)])
def test_the_share_of_a_stopped_epoch_is_never_out_of_range(done, share):
    session = SimpleNamespace(
        optim_step=SimpleNamespace(done=done), steps_per_epoch=lambda: 2, device=torch.device("cpu"),
        train_loader=SimpleNamespace(dataset=range(9)),
    )  # fmt: skip
    assert Session.stop(session, 2, SimpleNamespace(images=3, sums={}, seconds=1.0))["share"] == share


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

"""Where slots start, against numbers worked out by hand.

Mean keys (3, 1, 0, 0) and (1, 3, 0, 0) of two classes have the mean (2, 2, 0, 0), from which they lie (1, -1, 0, 0) and
(-1, 1, 0, 0) apart. The eight numbers have the mean 0 and the sum of squares 4, hence the deviation sqrt(4 / 7), so
that the slots start at plus and minus sqrt(7 / 4): longer than what sets the classes apart, not shorter.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from engine.slot_init import set_class_means
from sloter.slot_model import build_model

START = 1.75**0.5


class Batch(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor


def slot_model(*, num_classes, slots_per_class=1, loss_status=1):
    torch.manual_seed(0)
    return build_model(
        backbone="test_resnet", num_classes=num_classes, slots_per_class=slots_per_class, loss_status=loss_status,
        out_stage=2, img_size=(32, 32), hidden_dim=4, attention="qknorm",
    )  # fmt: skip


def start(model, keys, labels, *, monkeypatch):
    """Start the slots of a model whose pictures have these mean keys, some of a batch at a time."""
    monkeypatch.setattr(model, "mean_keys", lambda images: images)
    pairs = zip(torch.tensor(keys).split(2), torch.tensor(labels).split(2), strict=True)
    set_class_means(model, [Batch(*pair) for pair in pairs], num_classes=model.slot.num_classes)
    return model.slot.initial_slots.detach().numpy().copy()


# Two pictures of class 0 and three of class 2, none of class 1: their mean keys are those above.
KEYS = [[5.0, 0.0, 0.0, 0.0], [1.0, 5.0, 3.0, 0.0], [1.0, 2.0, 0.0, 0.0], [1.0, 2.0, -3.0, 1.0], [1.0, 2.0, 0.0, -1.0]]
LABELS = [0, 2, 0, 2, 2]


@pytest.mark.parametrize("sign", [1, -1])
def test_slots_start_at_what_sets_their_class_apart_in_units_of_its_deviation(monkeypatch, sign):
    model = slot_model(num_classes=3, loss_status=sign)
    before = model.slot.initial_slots.detach().numpy().copy()
    slots = start(model, KEYS, LABELS, monkeypatch=monkeypatch)
    expected = [[START, -START, 0, 0], [-START, START, 0, 0]]
    np.testing.assert_allclose(slots[[0, 2]], sign * np.array(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(slots[1], before[1])  # a class without pictures keeps its random slot


def test_several_slots_of_a_class_start_a_little_apart_around_its_start(monkeypatch):
    model = slot_model(num_classes=3, slots_per_class=400)
    before = model.slot.initial_slots.detach().numpy().copy()
    slots = start(model, KEYS, LABELS, monkeypatch=monkeypatch).reshape(3, 400, 4)
    np.testing.assert_allclose(slots[0].mean(0), [START, -START, 0, 0], atol=0.1)
    np.testing.assert_allclose(slots[2].mean(0), [-START, START, 0, 0], atol=0.1)
    np.testing.assert_allclose(slots[[0, 2]].std(1), 0.5, atol=0.08)
    np.testing.assert_array_equal(slots[1], before.reshape(3, 400, 4)[1])


def test_the_more_the_classes_differ_the_shorter_is_a_unit(monkeypatch):
    # The start does not depend on how long the keys are, only on where they point.
    keys = (10 * np.array(KEYS, np.float32)).tolist()
    slots = start(slot_model(num_classes=3), keys, LABELS, monkeypatch=monkeypatch)
    np.testing.assert_allclose(slots[0], [START, -START, 0, 0], rtol=1e-5, atol=1e-6)


def test_three_classes_are_set_apart_from_the_mean_of_all_three(monkeypatch):
    keys = [[3.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]]
    slots = start(slot_model(num_classes=3), keys, [0, 1, 2], monkeypatch=monkeypatch)
    # Apart: 2 once and -1 twice in each of three classes, 0 in the last channel; their squares sum to 18 over 11.
    unit = (18 / 11) ** 0.5
    expected = np.array([[2, -1, -1, 0], [-1, 2, -1, 0], [-1, -1, 2, 0]]) / unit
    np.testing.assert_allclose(slots, expected, rtol=1e-5, atol=1e-6)

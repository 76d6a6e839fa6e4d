import pytest
import torch

from engine.explain.metrics.on_object import on_object


def test_precision_by_hand():
    maps = torch.zeros(1, 4, 4)
    maps[0, 0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    maps[0, 3, 3] = -5  # a negative value counts as zero
    boxes = torch.tensor([[0.0, 0.0, 1.0, 4.0], [2.0, 0.0, 4.0, 1.0]])
    found = on_object(maps, [boxes])
    assert found["precision"].item() == pytest.approx(0.4)  # the better of 4/10 and 3/10
    assert found["energy"].item() == pytest.approx(0.7)
    assert found["pointing"].item() == 1
    assert on_object(maps, [boxes[1:]])["pointing"].item() == 0
    assert all(v.item() == 0 for v in on_object(torch.zeros(1, 4, 4), [boxes]).values())


def test_a_random_and_a_perfect_map_bracket_the_rest():
    box = torch.tensor([[2.0, 2.0, 6.0, 6.0]])
    perfect = torch.zeros(1, 8, 8)
    perfect[:, 2:6, 2:6] = 1
    noise = torch.rand(1, 8, 8, generator=torch.manual_seed(0))
    half = on_object(perfect + 0.2 * noise, [box])["precision"]
    assert on_object(perfect, [box])["precision"] == 1
    assert 0.15 < on_object(noise, [box])["precision"] < half < 1
    # A constant map has the share of the picture that the box covers.
    assert on_object(torch.ones(1, 8, 8), [box])["precision"].item() == pytest.approx(16 / 64)

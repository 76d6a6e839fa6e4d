import pytest
import torch

from engine.explain.metrics.area import explanation_area, min_max


def test_min_max_is_over_all_values_of_a_picture():
    maps = torch.tensor([[[[1.0, 3.0]], [[5.0, 2.0]]], [[[4.0, 4.0]], [[4.0, 4.0]]]])
    expected = torch.tensor([[[[0.0, 0.5]], [[1.0, 0.25]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])
    torch.testing.assert_close(min_max(maps), expected)


def test_area_by_hand():
    # class 0 covers half the grid at full strength, class 1 nothing, class 2 a quarter at half strength
    maps = torch.tensor([[[[4.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]])
    assert explanation_area(maps, torch.tensor([0]), negative=False).item() == pytest.approx(0.5)
    assert explanation_area(maps, torch.tensor([2]), negative=False).item() == pytest.approx(0.125)
    # a negative model explains why it is none of the other classes: mean of .5 and .125
    assert explanation_area(maps, torch.tensor([1]), negative=True).item() == pytest.approx(0.3125)

import pytest
import torch

from engine.explain.metrics.confidence import confidence_change


def logits(images):
    """The probability of class 1 is the sigmoid of the sum of the picture."""
    return torch.stack([torch.zeros(len(images)), images.sum((1, 2, 3))], 1)


def test_drop_and_increase_by_hand():
    images = torch.tensor([[[[1.0, 1]]], [[[3, -1]]], [[[3, -1]]], [[[1, 1]]]])
    maps = torch.tensor([[[2.0, 0]], [[0.5, 0]], [[0, 7]], [[0, 0]]])
    found = confidence_change(logits, images, maps, torch.tensor([1, 1, 1, 1]), batch_size=3)
    p = [torch.tensor(float(x)).sigmoid().item() for x in (2, 1, 3, -1, 0)]  # whole pictures have the sum 2
    assert found["average_drop"].tolist() == pytest.approx([1 - p[1] / p[0], 0, 1 - p[3] / p[0], 1 - p[4] / p[0]])
    assert found["increase"].tolist() == [0, 1, 0, 0]


def test_a_map_of_everything_has_no_drop_and_no_increase():
    images = torch.randn(3, 2, 4, 4, generator=torch.manual_seed(0))
    found = confidence_change(logits, images, torch.full((3, 4, 4), 0.3), torch.tensor([0, 1, 0]))
    assert found["average_drop"].tolist() == found["increase"].tolist() == [0, 0, 0]

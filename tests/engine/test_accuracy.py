import pytest
import torch

from engine.accuracy import confusion_counts, topk_correct
from engine.explain.metrics.area import explanation_area, min_max


def test_topk_by_hand():
    logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    labels = torch.tensor([0, 2, 1])
    assert topk_correct(logits, labels, 1).item() == 1
    assert topk_correct(logits, labels, 2).item() == 2  # the tie: class 0 stands before class 1
    assert topk_correct(logits, labels, 5).item() == 3


def test_a_logit_that_is_no_number_is_never_right():
    assert topk_correct(torch.full((4, 10), float("nan")), torch.arange(4), 5).item() == 0


def test_topk_agrees_with_sorting():
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 9), torch.randint(9, (50,))
    expected = (logits.topk(3).indices == labels[:, None]).any(1).sum()
    assert topk_correct(logits, labels, 3) == expected


def test_confusion_by_hand():
    logits = torch.tensor([[9.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0], [9.0, 0.0, 5.0]])
    counts = confusion_counts(logits, torch.tensor([0, 0, 2, 0]))
    assert counts.tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_min_max_is_over_everything_of_a_picture():
    maps = torch.tensor([[[[1.0, 3.0]], [[5.0, 2.0]]], [[[4.0, 4.0]], [[4.0, 4.0]]]])
    expected = torch.tensor([[[[0.0, 0.5]], [[1.0, 0.25]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])
    torch.testing.assert_close(min_max(maps), expected)


def test_area_by_hand():
    # class 0 covers half the grid at full strength, class 1 nothing, class 2 a quarter at half strength
    maps = torch.tensor([[[[4.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]])
    assert explanation_area(maps, torch.tensor([0]), negative=False).item() == pytest.approx(0.5)
    assert explanation_area(maps, torch.tensor([2]), negative=False).item() == pytest.approx(0.125)
    # a negative model explains why it is none of the others: mean of .5 and .125
    assert explanation_area(maps, torch.tensor([1]), negative=True).item() == pytest.approx(0.3125)

import torch

from engine.accuracy import topk_correct


def test_topk_by_hand():
    logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    labels = torch.tensor([0, 2, 1])
    assert topk_correct(logits, labels, 1).item() == 1
    assert topk_correct(logits, labels, 2).item() == 2  # the tie: class 0 stands before class 1
    assert topk_correct(logits, labels, 5).item() == 3


def test_a_logit_that_is_not_finite_is_never_right():
    assert topk_correct(torch.full((4, 10), float("nan")), torch.arange(4), 5).item() == 0


def test_topk_agrees_with_sorting():
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 9), torch.randint(9, (50,))
    expected = (logits.topk(3).indices == labels[:, None]).any(1).sum()
    assert topk_correct(logits, labels, 3) == expected

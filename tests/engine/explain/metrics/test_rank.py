import pytest
import torch

from engine.explain.metrics.rank import against_boxes, auc, rank_accuracy

HAND = torch.tensor([4.0, 2, 1, 1])  # [[4, 2], [1, 1]] and its left column
LEFT = torch.tensor([True, False, True, False])


def test_the_hand_example():
    assert rank_accuracy(HAND, LEFT) == 0.5
    assert auc(HAND, LEFT) == 0.625
    found = against_boxes(HAND.view(1, 2, 2), [torch.tensor([[0.0, 0, 1, 2]])])
    assert (found["rank_accuracy"].item(), found["auc"].item()) == (0.5, 0.625)


def test_equal_places_count_as_the_mean_of_all_orders():
    flat = torch.ones(8)
    mask = torch.arange(8) < 2
    assert rank_accuracy(flat, mask) == 0.25 and auc(flat, mask) == 0.5
    # Two of the three highest are sure (one inside); the third is one of two equal ones, of which one is inside.
    values = torch.tensor([5.0, 4, 3, 3, 0, 0])
    inside = torch.tensor([True, False, True, False, True, False])
    assert rank_accuracy(values, inside).item() == pytest.approx(1.5 / 3)


def test_boxes_that_hold_nothing_or_everything():
    maps = torch.rand(2, 4, 4)
    found = against_boxes(maps, [torch.zeros(1, 4), torch.tensor([[0.0, 0, 4, 4]])])
    assert found["rank_accuracy"].tolist() == [0, 1] and found["auc"].tolist() == [0.5, 0.5]


def test_several_boxes_are_one_mask():
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = maps[0, 3, 3] = 1
    boxes = torch.tensor([[0.0, 0, 1, 1], [3, 3, 4, 4]])
    found = against_boxes(maps, [boxes])
    assert found["rank_accuracy"].item() == found["auc"].item() == 1


def test_the_auc_is_that_of_all_pairs():
    values = torch.randint(0, 6, (40,), generator=torch.manual_seed(0)).float()
    mask = torch.rand(40, generator=torch.manual_seed(1)) < 0.3
    pairs = values[mask][:, None] - values[~mask][None]
    assert auc(values, mask).item() == pytest.approx(((pairs > 0).float() + 0.5 * (pairs == 0).float()).mean().item())


def test_rank_accuracy_agrees_with_quantus():
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    values = torch.randperm(64, generator=torch.manual_seed(0)).double()
    mask = torch.rand(64, generator=torch.manual_seed(1)) < 0.3
    for metric, ours in ((quantus.RelevanceRankAccuracy, rank_accuracy), (quantus.AUC, auc)):
        own = metric(disable_warnings=True, normalise=False, abs=False)
        theirs = own.evaluate_batch(a_batch=values.numpy()[None], s_batch=mask.numpy()[None])
        assert ours(values, mask).item() == pytest.approx(theirs)

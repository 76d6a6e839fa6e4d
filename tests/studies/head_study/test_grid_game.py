"""The grid pointing game, with shares worked out by hand."""

import math

import pytest
import torch
from torch import nn

from studies.head_study.features import Features
from studies.head_study.grid_game import compose, draw_grids, grid_games, shares_of_own
from studies.head_study.heads import build_head


def test_four_pictures_make_a_grid_row_by_row():
    maps = torch.arange(4.0)[None, :, None, None].expand(1, 4, 6, 2) * 10 + torch.arange(6.0)[:, None]  # 2x3 places
    whole = compose(maps, (2, 3))
    assert whole.shape == (1, 2, 4, 6)
    expected = torch.tensor([[0, 1, 2, 10, 11, 12], [3, 4, 5, 13, 14, 15],
                             [20, 21, 22, 30, 31, 32], [23, 24, 25, 33, 34, 35.0]])  # fmt: skip
    assert torch.equal(whole[0, 0], expected) and torch.equal(whole[0, 1], expected)


def test_shares_match_those_worked_out_by_hand():
    maps = torch.zeros(1, 4, 2, 4)  # quarters of 1x2 places
    maps[0, 0] = torch.tensor([[3.0, 3, 1, 0], [1, 0, 0, 0]])  # 6 of 8 in the first
    maps[0, 1] = torch.tensor([[0.0, 0, 2, 3], [0, 0, 0, 0]])  # all in the second
    maps[0, 2] = torch.tensor([[1.0, 0, 0, 0], [0, 0, 3, 0]])  # nothing in the third
    torch.testing.assert_close(shares_of_own(maps), torch.tensor([[0.75, 1.0, 0.0, 0.0]]))  # an empty map: 0


def test_each_grid_has_four_classes_and_a_seed_repeats_it():
    labels = torch.tensor([0, 0, 1, 2, 2, 5, 7, 7, 7])
    numbers = draw_grids(labels, grids=50, seed=3)
    assert numbers.shape == (50, 4) and all(len(row.unique()) == 4 for row in labels[numbers])
    assert set(numbers.flatten().tolist()) == set(range(9))
    assert torch.equal(numbers, draw_grids(labels, grids=50, seed=3))


class Known(nn.Module):
    """A head whose contributions to class c are channel c of the features or, if blind, the mean of all channels."""

    def __init__(self, blind):
        super().__init__()
        self.blind = blind

    def contributions(self, features):
        return features.mean(1, keepdim=True).expand_as(features) if self.blind else features


@pytest.mark.parametrize(("blind", "share"), [(False, 1.0), (True, 0.25)])
def test_a_map_of_the_class_wins_and_one_that_ignores_it_has_a_quarter(blind, share):
    labels = torch.arange(6).repeat(3)
    maps = torch.nn.functional.one_hot(labels, 6)[:, None].expand(-1, 4, -1).half()  # a picture has its channel alone
    val = Features(maps, labels, None, (2, 2), (8, 8), 6)
    games = grid_games(Known(blind), val, torch.device("cpu"), grids=7)
    assert games == {"grid": pytest.approx(share)}  # nothing is against a class


def test_slots_that_match_their_class_win():
    """Classes share one channel alone, and the head copies the channels."""
    labels = torch.arange(6).repeat(3)
    own = torch.nn.functional.one_hot(labels, 6).float()
    maps = torch.cat([own, torch.ones(18, 1)], 1)[:, None].expand(-1, 4, -1).half()  # (N, n, f)
    val = Features(maps, labels, None, (2, 2), (8, 8), 6)
    changes = {"hidden_dim": 8, "salience": 1.0}
    head, _ = build_head("direct", f=7, grid=(2, 2), num_classes=6, sign=1, changes=changes)
    with torch.no_grad():
        head.conv1x1.weight.zero_()
        head.conv1x1.weight[:7, :, 0, 0], head.conv1x1.bias[:] = torch.eye(7), 0.0
        head.slot.initial_slots.copy_(torch.eye(6, 8))
    # cos is 1 / sqrt(2) at the own picture and 0 at the others, where the reference leaves nothing.
    head.slot.reference = "min"
    assert grid_games(head, val, torch.device("cpu"), grids=5)["grid"] == pytest.approx(1.0)
    head.slot.reference = "mean"  # at its own picture a class has the sixth of one value, elsewhere less than the mean
    games = grid_games(head, val, torch.device("cpu"), grids=5)
    assert games == {"grid": pytest.approx(1.0), "grid_why_not": pytest.approx(0.0)}
    head.slot.reference = "none"
    value = 1 / (1 + 4 * math.exp(-3 / math.sqrt(2)))  # the sigmoid with a logit scale of 3 and a bias of -log 4
    expected = value / (value + 3 * 0.2)
    assert grid_games(head, val, torch.device("cpu"), grids=5)["grid"] == pytest.approx(expected, rel=1e-4)


def test_three_classes_are_too_few():
    val = Features(torch.ones(6, 4, 3), torch.arange(3).repeat(2), None, (2, 2), (8, 8), 3)
    assert grid_games(Known(False), val, torch.device("cpu")) == {}

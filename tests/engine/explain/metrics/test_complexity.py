import math

import pytest
import torch

from engine.explain.metrics.complexity import entropy, gini

HAND = torch.tensor([[[4.0, 2], [1, 1]]])


def test_the_hand_example():
    assert gini(HAND).item() == 0.3125
    assert entropy(HAND).item() == pytest.approx(1.213, abs=5e-4)


def test_a_constant_map_a_single_place_and_an_empty_map():
    maps = torch.zeros(3, 3, 3)
    maps[0] = 0.7
    maps[1, 2, 0] = 5
    assert gini(maps).tolist() == pytest.approx([0, 1 - 1 / 9, 0], abs=1e-6)
    assert entropy(maps).tolist() == pytest.approx([math.log(9), 0, math.log(9)])


def test_complexity_agrees_with_quantus():
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed")
    maps = torch.rand(3, 5, 5, generator=torch.manual_seed(0), dtype=torch.float64)
    for metric, ours in ((quantus.Sparseness, gini), (quantus.Complexity, entropy)):
        own = metric(disable_warnings=True, normalise=False, abs=False)
        theirs = own.evaluate_batch(x_batch=maps.numpy(), a_batch=maps.flatten(1).numpy())
        assert ours(maps).tolist() == pytest.approx(theirs)

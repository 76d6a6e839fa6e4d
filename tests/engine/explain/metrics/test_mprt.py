import math

import numpy as np
import pytest
import torch

from engine.explain.metrics.exchange import random_state
from engine.explain.metrics.mprt import efficient_mprt, histogram_entropy, rise


def test_the_entropy_of_a_histogram_by_hand():
    maps = torch.zeros(5, 2, 2)
    maps[1, 0, 0] = 1  # three values and one: 3/4 log 4/3 + 1/4 log 4
    maps[2] = torch.tensor([[0.0, 1], [2, 3]])  # four bins
    maps[3] = torch.tensor([[-3.0, 0.001], [0, 0]])  # the last three share a bin of width .03
    maps[4] = torch.tensor([[math.nan, math.inf], [0, 1]])  # what is not finite counts as zero
    quarter = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert histogram_entropy(maps).tolist() == pytest.approx([0, quarter, math.log(4), quarter, quarter])


def test_the_entropy_agrees_with_numpy():
    maps = torch.randn(3, 20, 20, generator=torch.manual_seed(0), dtype=torch.float64)
    counts = [np.histogram(own, bins=100)[0] / 400 for own in maps.numpy()]
    expected = [-sum(share * math.log(share) for share in own if share) for own in counts]
    assert histogram_entropy(maps).tolist() == pytest.approx(expected)


def test_the_relative_rise():
    assert rise(torch.tensor([2.0, 2, 0]), torch.tensor([3.0, 1, 1])).tolist() == [0.5, -0.5, 0]


def test_the_entropy_agrees_with_quantus():
    functions = pytest.importorskip("quantus.functions.complexity_func", reason="Quantus is not installed")
    maps = torch.randn(3, 9, 9, generator=torch.manual_seed(0), dtype=torch.float64)
    theirs = [functions.discrete_entropy(a=own.flatten(), x=own.flatten(), n_bins=100) for own in maps.numpy()]
    assert histogram_entropy(maps).tolist() == pytest.approx(theirs)


def test_the_explainer_is_built_again_for_the_random_model_which_is_gone_afterwards(planted):
    expected, built = random_state(planted.model, seed=0), []

    def rebuild(pictures):
        assert pictures is None
        built.append(planted.model.weight.clone())
        raise ArithmeticError("broken")

    before = planted.model.weight.clone()
    with pytest.raises(ArithmeticError):
        efficient_mprt(planted.subject(planted.truth, rebuild=rebuild))
    assert torch.equal(built[0], expected[0]) and torch.equal(planted.model.weight, before)

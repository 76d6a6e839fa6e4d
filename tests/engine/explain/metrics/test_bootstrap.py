import pytest
import torch

from engine.explain.metrics.bootstrap import bootstrap_interval, quartiles


def test_the_bootstrap_interval_of_a_mean():
    values = torch.randn(400, generator=torch.manual_seed(0), dtype=torch.float64)
    low, high = bootstrap_interval(values.tolist())
    half = 1.96 * values.std().item() / 20
    assert low == pytest.approx(values.mean().item() - half, abs=0.02)
    assert high == pytest.approx(values.mean().item() + half, abs=0.02)
    assert bootstrap_interval([0.5] * 10) == (0.5, 0.5)
    assert bootstrap_interval(values.tolist()) == (low, high)


def test_the_interval_holds_ninety_five_percent_of_the_means():
    low, high = bootstrap_interval([0.0, 1.0] * 50, resamples=20_000)
    # The mean of 100 draws is binomial: 1.96 standard deviations of 0.05 to either side, in steps of 0.01.
    assert low == pytest.approx(0.40, abs=0.0051) and high == pytest.approx(0.60, abs=0.0051)


def test_the_interval_of_a_median_ignores_outliers():
    values = [0.9] * 60 + [1.0] * 35 + [-1e9] * 5
    assert bootstrap_interval(values, median=True) == (0.9, 0.9)
    assert bootstrap_interval(values)[0] < -1e7


def test_quartiles_by_hand():
    assert quartiles([4.0, 1.0, 3.0, 2.0]) == (1.75, 2.5, 3.25)
    assert quartiles([7.0]) == (7, 7, 7)

import pytest
import torch

from engine.explain.metrics.bootstrap import bootstrap_interval


def test_the_bootstrap_interval_of_a_mean():
    values = torch.randn(400, generator=torch.manual_seed(0), dtype=torch.float64)
    low, high = bootstrap_interval(values.tolist())
    half = 1.96 * values.std().item() / 20
    assert low == pytest.approx(values.mean().item() - half, abs=0.02)
    assert high == pytest.approx(values.mean().item() + half, abs=0.02)
    assert bootstrap_interval([0.5] * 10) == (0.5, 0.5)
    assert bootstrap_interval(values.tolist()) == (low, high)

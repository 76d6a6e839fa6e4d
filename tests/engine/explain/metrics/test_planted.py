"""All metrics of an explainer that knows what the model does, of one that is constant and of one that is empty."""

import math

import pytest

from engine.explain.measure import measure, passes
from engine.explain.metrics.registry import COLUMNS, METRICS
from engine.explain.settings import MetricSettings

SURE = math.exp(5) / (math.exp(5) + 8)  # probability of the true class
# What the truth and the constant explainer have: a number, or a function that must be true.
EXPECTED = {
    "area": (0.5, 1.0),
    "precision": (1.0, 0.5), "pointing": (1.0, 1.0), "energy": (1.0, 0.5),
    "rank_accuracy": (1.0, 0.5), "auc": (1.0, 0.5),
    "gini": (0.5, 0.0), "entropy": (math.log(72), math.log(144)),
    "grid_2x2": (1.0, 1 / 4), "grid_3x3": (1.0, 1 / 9),
    "random_head": (lambda value: abs(value) < 0.4, 1.0),
    "mprt": (lambda value: value > 0.5, 0.0),
    "completeness": (lambda value: value < 1e-6, 4.0),
    "completeness_gap": (lambda value: value < 1e-4, 144 * 4),  # 144 rather than 144 * 5
    "road": (lambda value: value > 0.2, lambda value: abs(value) < 0.1),
    "average_drop": (0.0, 0.0), "increase": (0.0, 0.0),  # the right half does not matter to the model
    "stability_shift": (lambda value: value > 0.6, 1.0),
    "sensitivity": (lambda value: 0 < value < 0.2, 0.0),
}  # fmt: skip


@pytest.fixture
def measured(planted):
    def run(explainer):
        claim = lambda images, classes: 144 * planted.logits(images).gather(1, classes[:, None])[:, 0]  # noqa: E731
        return measure(planted.subject(explainer), list(METRICS), boxes=lambda number: planted.box, claim=claim)

    return run


def test_the_truth_and_a_constant_map_have_what_they_should(planted, measured):
    before = planted.model.weight.clone()
    truth, constant = measured(planted.truth), measured(planted.constant)
    assert (planted.model.weight == before).all()
    for column, expected in EXPECTED.items():
        for row, value in zip((truth, constant), expected, strict=True):
            holds = value(row[column]) if callable(value) else row[column] == pytest.approx(value, abs=1e-5)
            assert holds, (column, row[column], value)
    assert truth["images"] == constant["images"] == 18 and truth["metrics"] == list(METRICS)
    assert truth["quartiles"]["grid_2x2"] == (1, 1) and truth["means"]["grid_3x3"] == pytest.approx(1)
    for column in set(COLUMNS) & set(truth):
        low, high = truth["intervals"][column]
        assert low - 1e-9 <= truth[column] <= high + 1e-9
    for name in ("grid_game", "random_head", "complexity"):  # alone as together
        row = measure(planted.subject(planted.truth), [name])
        assert row["images"] == 18 and row["metrics"] == [name]
        assert all(row[column] == pytest.approx(truth[column]) for column in METRICS[name].columns)


def test_an_empty_map_passes_nothing(planted, measured):
    row = measured(planted.nothing)
    for column in ("area", "precision", "energy", "grid_2x2", "grid_3x3", "gini", "mprt", "increase"):
        assert row[column] == 0, column
    assert row["random_head"] == row["completeness"] == 1
    assert row["average_drop"] == pytest.approx((SURE - 1 / 9) / SURE, abs=1e-4)


def test_the_passes_that_metrics_take():
    settings = MetricSettings(steps=10, infidelity_samples=7, sensitivity_samples=3)
    assert passes(["area"], settings) == (0, 1)
    assert passes(["insertion_deletion", "infidelity", "sensitivity"], settings) == (27, 4)
    assert passes(["random_head", "mprt"], settings) == (0, 8)

"""Properties of all metrics."""

import pytest
import torch

from engine.explain.metrics.infidelity import infidelity
from engine.explain.metrics.insertion_deletion import insertion_deletion
from engine.explain.metrics.registry import BOX_COLUMNS, COLUMNS, MEDIANS, METRICS
from engine.explain.metrics.sensitivity import max_sensitivity
from engine.explain.settings import DEFAULT_METRICS, METRIC_NAMES, MetricSettings


def test_scores_do_not_depend_on_the_other_pictures_of_the_batch(network):
    model, images = network().eval(), torch.randn(3, 3, 16, 16)
    maps, classes = torch.rand(3, 16, 16), torch.tensor([0, 1, 2])

    def scores(rows):
        i, m, c = images[rows], maps[rows], classes[rows]
        return torch.stack([
            *(a[:, 0] for a in insertion_deletion(model, i, m, c[:, None], steps=10)), infidelity(model, i, m, c),
            max_sensitivity(lambda x, t: x.mean(1, keepdim=True).abs(), i, c),
        ])  # fmt: skip

    torch.testing.assert_close(scores(slice(None))[:, 1:2], scores(slice(1, 2)))


def test_the_names_of_the_flag_are_those_of_the_registry():
    assert tuple(METRICS) == METRIC_NAMES and len(set(COLUMNS)) == len(COLUMNS)
    assert DEFAULT_METRICS == ("area", "on_object", "insertion_deletion", "infidelity", "sensitivity")
    assert {"precision", "pointing", "energy", "rank_accuracy", "auc"} == BOX_COLUMNS
    assert {"grid_2x2", "grid_3x3"} == MEDIANS


@pytest.mark.parametrize("change", [{"grid_mosaics": 0}, {"jpeg_quality": 101}, {"jpeg_quality": 7.5}])
def test_settings_are_checked(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        MetricSettings(**change)

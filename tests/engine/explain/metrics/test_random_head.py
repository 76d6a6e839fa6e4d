import pytest
import torch

from engine.explain.metrics.correlation import pearson
from engine.explain.metrics.random_head import correlation, random_head, redrawn


def test_pearson_by_hand():
    one = torch.tensor([[[0.0, 1], [2, 3]]])
    assert pearson(one, 5 * one - 7).item() == pytest.approx(1)
    assert pearson(one, -one).item() == pytest.approx(-1)
    assert pearson(1e-30 * one, one).item() == pytest.approx(1)  # the squares of such values are 0 in single precision
    # deviations (-1.5, -.5, .5, 1.5) and (-.5, .5, -.5, .5): products sum to 1, norms are sqrt(5) and 1
    assert pearson(one, torch.tensor([[[0.0, 1], [0, 1]]])).item() == pytest.approx(1 / 5**0.5)


def test_constant_maps():
    ramp, flat, tenth = torch.rand(1, 7, 7), torch.ones(1, 7, 7), torch.full((1, 7, 7), 0.1)
    assert pearson(flat, tenth) == pearson(tenth, tenth) == 1  # whose mean is .1 and a rounding error
    assert pearson(ramp, tenth) == pearson(tenth, ramp) == 0
    # An empty map depends on nothing; where only the redrawn one is empty, all of the first is gone.
    assert correlation(0 * flat, ramp) == correlation(0 * flat, 0 * flat) == correlation(flat, tenth) == 1
    assert correlation(ramp, 0 * flat) == 0


def test_redrawn_weights_have_the_mean_and_the_deviation():
    weights = 3 + 2 * torch.randn(100, 50, generator=torch.manual_seed(0))
    new = redrawn(weights, torch.manual_seed(1))
    assert new.mean().item() == pytest.approx(3, abs=0.1) and new.std().item() == pytest.approx(2, abs=0.1)
    assert abs(torch.corrcoef(torch.stack([weights.flatten(), new.flatten()]))[0, 1]) < 0.05


def test_a_map_of_the_backbone_does_not_pass(planted):
    def salience(images, targets):  # depends on the picture, not on the class weights
        return images.sum(1, keepdim=True).expand(-1, targets.shape[1], -1, -1)

    assert all(record["random_head"] == pytest.approx(1) for record in random_head(planted.subject(salience)))


def test_the_weights_are_back_after_an_error(planted):
    calls = []

    def breaks(images, targets):
        calls.append(planted.model.weight.clone())
        if len(calls) == 3:
            raise ArithmeticError("broken")
        return planted.truth(images, targets)

    before = planted.model.weight.clone()
    with pytest.raises(ArithmeticError):
        random_head(planted.subject(breaks))
    assert not torch.equal(calls[1], before) and not torch.equal(calls[2], calls[1])
    assert torch.equal(planted.model.weight, before)

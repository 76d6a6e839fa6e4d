import pytest
import torch

from engine.explain.attribution.registry import MethodSettings, build_explainer
from engine.explain.attribution.rise import Masks


@pytest.mark.parametrize("size", [(32, 32), (45, 30), (5, 64)])
def test_masks_are_smooth_and_have_the_wanted_mean(size):
    masks = Masks(400, grid=7, p=0.3, size=size, seed=0)
    every = masks[0:400]
    assert every.shape == (400, *size)
    assert every.min() >= 0 and every.max() <= 1 + 1e-6
    assert every.mean(0).sub(0.3).abs().max() < 0.15  # of 400 masks; about 0.02 for a pixel's mean
    assert every.mean().item() == pytest.approx(0.3, abs=0.02)
    assert len(masks.corners.unique(dim=0)) > 4  # cropped at different places
    assert torch.equal(torch.cat([masks[0:100], masks[100:400]]), every)


def test_equal_probabilities_under_all_masks_give_the_mean_mask(pooled):
    """With the same probability under every mask, the map is that probability times the mean mask over p."""
    pooled.backbone.fc.weight.data.zero_()
    options = MethodSettings(rise_masks=50)
    maps = build_explainer("RISE", pooled, options=options)(torch.rand(1, 3, 16, 16), torch.tensor([[1, 2]]))
    probability = pooled.backbone.fc.bias.detach().softmax(0)[[1, 2]]
    mean = Masks(50, grid=7, p=0.5, size=(16, 16), seed=0)[0:50].mean(0) / 0.5
    torch.testing.assert_close(maps[0], probability[:, None, None] * mean)


def test_it_finds_the_place_that_the_model_uses(corner, pictures):
    maps = build_explainer("RISE", corner, options=MethodSettings(rise_masks=2000))(
        pictures(1, 32), torch.tensor([[2]])
    )
    inside, outside = maps[0, 0, :16, :16], maps[0, 0, 18:, 18:]
    assert maps.max() == inside.max()
    assert inside.mean() > outside.quantile(0.95)

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.explain.attribution.iba import MIN_STD, feature_statistics, information
from engine.explain.attribution.registry import MethodSettings, SplitModel, build_explainer
from tools import ToolError


def test_information_by_hand():
    """0.5 ((0.5 2)^2 + 0.25 - 1 - log 0.25); where nothing passes, there is no information."""
    nats = information(torch.tensor([2.0, 2.0]), torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(nats, torch.tensor([0.5 * (0.25 - math.log(0.25)), 0.0]))
    assert information(torch.zeros(1), torch.ones(1)).isfinite().all()


def test_statistics_are_those_of_the_first_pictures(pooled, batches):
    loader = batches(size=16)
    mean, std, active = feature_statistics(pooled, loader, 7)
    features = F.avg_pool2d(torch.cat([batch.images for batch in loader])[:7], 4)
    torch.testing.assert_close(mean, features.mean(0))
    torch.testing.assert_close(std, features.std(0))
    assert active.min() == 1


def test_a_feature_that_is_always_zero_carries_no_information(pooled, batches):
    loader = [
        SimpleNamespace(images=batch.images * torch.tensor([1.0, 0, 1]).view(3, 1, 1)) for batch in batches(size=16)
    ]
    _, std, active = feature_statistics(pooled, loader, 100)
    assert active[1].max() == 0 and active[[0, 2]].min() == 1
    assert std[1].max().item() == pytest.approx(MIN_STD)
    maps = build_explainer("IBA", pooled, loader=loader)(torch.full((1, 3, 16, 16), 5.0), torch.tensor([[0]]))
    assert maps.min() >= 0 and maps.max() < 1000  # 5 of deviation 0.01 would be 10^5 nats


def test_it_needs_pictures(pooled):
    with pytest.raises(ToolError, match="IBA needs pictures of the dataset: give --dataset_dir, or leave IBA out"):
        build_explainer("IBA", pooled)
    with pytest.raises(ToolError, match="IBA needs the features of several pictures and was given 1"):
        build_explainer("IBA", pooled, loader=[SimpleNamespace(images=torch.zeros(1, 3, 16, 16))])
    explain = build_explainer("IBA", pooled, loader=[SimpleNamespace(images=torch.randn(4, 3, 16, 16))])
    with pytest.raises(
        ToolError, match=r"built for features of shape \(3, 4, 4\), not \(3, 5, 5\): use the same --cam_layer"
    ):
        explain(torch.zeros(1, 3, 20, 20), torch.tensor([[0]]))


class Bright(nn.Module):
    """Model whose features are means over 4x4 pixels; class 1 is a top left quarter with a mean above 1.2."""

    def forward_features(self, images):
        return F.avg_pool2d(images, 4)

    def forward_head(self, feature_map):
        h, w = feature_map.shape[2] // 2, feature_map.shape[3] // 2
        score = 20 * (feature_map[:, :, :h, :w].mean((1, 2, 3)) - 1.2)
        return torch.stack([-score, score], 1)


def test_it_finds_the_place_that_the_model_uses(corner_share):
    coarse = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    loader = [SimpleNamespace(images=coarse.repeat_interleave(4, 2).repeat_interleave(4, 3))]
    explain = build_explainer("IBA", SplitModel(Bright(), image_shape=(3, 32, 32)), loader=loader)
    maps = explain(torch.full((2, 3, 32, 32), 1.5), torch.tensor([[1], [1]]))
    assert maps.min() >= 0
    assert corner_share(maps).min() > 0.8


def test_a_layer_in_the_middle_gives_the_maps_of_a_tap_there(corner, pictures, batches):
    """The whole model with the layer's output replaced, or the head alone: the same bottleneck."""
    backbone = corner.backbone
    backbone.last = torch.nn.Identity()
    features = backbone.forward_features
    backbone.forward_features = lambda images: backbone.last(features(images))
    inside = SplitModel(backbone, image_shape=(3, 32, 32), layer="last")
    maps = [build_explainer("IBA", model, loader=batches(size=32))(pictures(2, 32), torch.tensor([[2], [2]]))
            for model in (corner, inside)]  # fmt: skip
    torch.testing.assert_close(*maps)


def test_a_shortcut_past_the_layer_belongs_to_the_same_picture(small, pictures, batches):
    model = SplitModel(small.backbone, image_shape=(3, 32, 32), layer="bn")
    explain = build_explainer("IBA", model, loader=batches())
    images, targets = pictures(3, 32), torch.tensor([[0, 1], [2, 3], [4, 0]])
    maps = explain(images, targets)
    for index in range(3):
        torch.testing.assert_close(explain(images[index, None], targets[index, None])[0], maps[index])


def test_maps_are_bits(pooled, pictures, batches):
    """Before the first step nearly everything passes: the share is sigmoid(5) for each feature."""
    loader, options = batches(size=16), MethodSettings(iba_steps=0)
    maps = build_explainer("IBA", pooled, loader=loader, options=options)(pictures(1, 16), torch.tensor([[0]]))
    mean, std, _ = feature_statistics(pooled, loader, 100)
    features = (F.avg_pool2d(pictures(1, 16), 4) - mean) / std
    passing = torch.tensor(5.0).sigmoid()
    nats = 0.5 * ((passing * features) ** 2 + (1 - passing) ** 2 - 1 - 2 * (1 - passing).log())
    torch.testing.assert_close(maps, nats.sum(1, keepdim=True) / math.log(2), rtol=1e-4, atol=1e-4)

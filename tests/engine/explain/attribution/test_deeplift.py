import pytest
import timm
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from torch import nn

from engine.explain.attribution.registry import MethodSettings, SplitModel, build_explainer
from tools import ToolError

TARGETS = torch.tensor([[0, 3], [1, 1]])


class Bent(nn.Module):
    """Model with two layers after the feature map and an activation between them."""

    def __init__(self, activation, twice=False):
        super().__init__()
        self.first, self.act, self.fc = nn.Conv2d(3, 6, 3, padding=1), activation, nn.Linear(6, 4)
        self.body, self.twice = nn.Conv2d(3, 3, 3), twice

    def forward_features(self, images):
        return self.body(images)

    def forward_head(self, feature_map):
        bent = self.act(self.first(feature_map))
        return self.fc((self.act(bent - 0.1) if self.twice else bent).mean((2, 3)))


ACTIVATIONS = [nn.ReLU(inplace=True), nn.ReLU6(), nn.SiLU(inplace=True), nn.Hardswish(), nn.GELU()]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda module: type(module).__name__)
def test_deeplift_adds_up_to_the_logit(activation, pictures):
    torch.manual_seed(0)
    model, known = SplitModel(Bent(activation), image_shape=(3, 16, 16)), dict(SUPPORTED_NON_LINEAR)
    explain = build_explainer("DeepLIFT", model)
    assert explain.gap is None
    images = pictures(2, 16) * 3
    maps = explain(images, TARGETS)
    change = (model(images) - model(torch.zeros_like(images))).gather(1, TARGETS)
    torch.testing.assert_close(maps.sum((2, 3)), change, atol=1e-4, rtol=1e-4)
    assert explain.gap < 1e-5 < change.abs().min()
    assert known == SUPPORTED_NON_LINEAR


@pytest.mark.parametrize(("name", "layer"), [
    ("resnet18", "maxpool"), ("resnet18", "act1"), ("resnet18", "bn1"),
    ("tf_efficientnet_lite0", "blocks.4"), ("mobilenetv3_small_100", None),
])  # fmt: skip
def test_deeplift_adds_up_in_real_networks(name, layer, pictures):
    torch.manual_seed(0)
    model = SplitModel(timm.create_model(name, num_classes=5), image_shape=(3, 64, 64), layer=layer)
    explain = build_explainer("DeepLIFT", model)
    maps = explain(pictures(1, 64), TARGETS[:1])
    assert explain.gap < 1e-3 * maps.abs().sum((2, 3)).mean()


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 1)])
def test_deeplift_passes_max_pools_after_an_activation(pool, pictures):
    torch.manual_seed(0)
    model = SplitModel(Bent(nn.Sequential(nn.ReLU(), pool)), image_shape=(3, 16, 16))
    explain = build_explainer("DeepLIFT", model)
    images = pictures(2, 16) * 3
    change = (model(images) - model(torch.zeros_like(images))).gather(1, TARGETS)
    torch.testing.assert_close(explain(images, TARGETS).sum((2, 3)), change, atol=1e-4, rtol=1e-4)


def test_the_gap_shows_that_deeplift_cannot_follow(pictures):
    model = SplitModel(timm.create_model("convnext_atto", num_classes=5), image_shape=(3, 64, 64))
    explain = build_explainer("DeepLIFT", model)
    explain(pictures(1, 64), TARGETS[:1])
    assert explain.gap > 0.01  # a layer norm follows the pooling


def test_a_module_used_twice_after_the_layer_is_an_error(pictures):
    model = SplitModel(Bent(nn.ReLU(), twice=True), image_shape=(3, 16, 16))
    with pytest.raises(
        ToolError, match=r"DeepLIFT cannot follow Bent from layer 'tap', because a module after it is used twice"
    ):
        build_explainer("DeepLIFT", model)(pictures(1, 16), TARGETS[:1])


def test_a_module_used_twice_before_the_layer_does_not_matter(pictures):
    class Shared(Bent):
        def forward_features(self, images):
            return self.relu(self.body(self.relu(self.body(images))))

    backbone = Shared(nn.ReLU())
    backbone.relu = nn.ReLU()
    explain = build_explainer("DeepLIFT", SplitModel(backbone, image_shape=(3, 16, 16)))
    explain(pictures(1, 16), TARGETS[:1])
    assert explain.gap < 1e-5


def test_deeplift_of_an_early_layer_leaves_nothing_behind(small, pictures, left_behind):
    """captum stores tensors on modules, and removes them only from those that a gradient reaches."""
    model = SplitModel(small.backbone.train(), image_shape=(3, 32, 32), layer="bn")
    before = left_behind(model)
    build_explainer("DeepLIFT", model)(pictures(2, 32), TARGETS)
    assert left_behind(model) == before


def test_integrated_gradients_add_up_to_the_logit(small, pictures):
    images = pictures(2, 32)
    maps = build_explainer("IntegratedGradients", small, options=MethodSettings(ig_steps=100))(images, TARGETS)
    small.eval()
    change = (small(images) - small(torch.zeros_like(images))).gather(1, TARGETS)
    torch.testing.assert_close(maps.sum((2, 3)), change, atol=0.02 * change.abs().max().item(), rtol=0)


@pytest.mark.parametrize("name", ["DeepLIFT", "IntegratedGradients"])
def test_they_find_the_place_that_the_model_uses(name, corner, corner_share, pictures):
    maps = build_explainer(name, corner)(pictures(2, 32), torch.tensor([[0, 2], [2, 0]]))
    assert corner_share(maps).min() > 0.95

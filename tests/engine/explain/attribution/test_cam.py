"""CAMs of a linear head against their closed form."""

import pytest
import timm
import torch
from torch.nn import functional as F
from torchcam import methods

from engine.explain.attribution.cam import pooled_linear
from engine.explain.attribution.registry import SplitModel, build_explainer
from tools import ToolError

TARGETS = torch.tensor([[0, 3], [2, 2]])


@pytest.fixture
def known(pooled):
    """Positive pictures, their features (b, f, h, w) and the class's weights (b, t, f)."""
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return images, F.avg_pool2d(images, 4), pooled.backbone.fc.weight.detach()[TARGETS]


def test_cam_is_the_classifier_at_each_place(pooled, known):
    images, features, weights = known
    maps = build_explainer("CAM", pooled)(images, TARGETS)
    torch.testing.assert_close(maps, torch.einsum("btf,bfhw->bthw", weights, features))
    # the mean of the map plus the bias is the logit
    logits = maps.mean((2, 3)) + pooled.backbone.fc.bias.detach()[TARGETS]
    torch.testing.assert_close(logits, pooled(images).detach().gather(1, TARGETS))


@pytest.mark.parametrize("name", ["GradCAM", "XGradCAM"])
def test_gradcam_is_cam_cut_at_zero_over_the_places(name, pooled, known):
    images, features, weights = known
    maps = build_explainer(name, pooled)(images, TARGETS)
    expected = torch.einsum("btf,bfhw->bthw", weights / 16, features).relu()
    torch.testing.assert_close(maps, expected)
    assert expected.max() > 0


def test_layercam_takes_positive_weights_only(pooled, known):
    images, features, weights = known
    maps = build_explainer("LayerCAM", pooled)(images, TARGETS)
    torch.testing.assert_close(maps, torch.einsum("btf,bfhw->bthw", weights.relu() / 16, features))


@pytest.mark.parametrize("name", ["GradCAM", "XGradCAM", "LayerCAM"])
@pytest.mark.parametrize("layer", [None, "stem"])
def test_the_maps_are_those_of_torchcam(name, layer, small, pictures):
    model, images = SplitModel(small.backbone, image_shape=(3, 32, 32), layer=layer), pictures(2, 32)
    maps = build_explainer(name, model)(images, TARGETS)
    with getattr(methods, name)(model.eval(), model.layer) as extractor:
        logits = model(images)
        found = [extractor(column.tolist(), logits, normalized=False, retain_graph=True)[0] for column in TARGETS.T]
    torch.testing.assert_close(maps, torch.stack(found, 1), rtol=1e-4, atol=1e-6)
    assert maps.max() > 1e-3


def test_modules_after_the_layer_may_work_in_place(small, pictures):
    """The output of the batch norm is changed in place after it; the maps are those of the unchanged output."""
    backbone = small.backbone.eval()
    images, seen = pictures(1, 32), []
    handle = backbone.bn.register_forward_hook(lambda module, args, output: seen.append(output) or output.clone())
    logits = backbone(images)[0]
    handle.remove()
    weights = [torch.autograd.grad(logit, seen[0], retain_graph=True)[0].mean((2, 3)) for logit in logits]
    expected = torch.einsum("tbf,bfhw->bthw", torch.stack(weights), seen[0]).relu().detach()
    model = SplitModel(backbone, image_shape=(3, 32, 32), layer="bn")
    torch.testing.assert_close(build_explainer("GradCAM", model)(images, torch.arange(5)[None]), expected)
    assert expected.max() > 0


def test_the_classifier_is_found_by_what_it_does(small, pooled):
    assert pooled_linear(small) is small.backbone.fc
    assert pooled_linear(pooled) is pooled.backbone.fc


def test_cam_is_refused_where_it_must_be(corner, pooled):
    with pytest.raises(ToolError, match="one linear layer, which Corner does not have: use GradCAM or LayerCAM"):
        build_explainer("CAM", corner)
    backbone = pooled.backbone
    backbone.forward_head = lambda feature_map: backbone.fc(feature_map.mean((2, 3)).relu())
    with pytest.raises(ToolError, match="one linear layer, which Pooled does not have"):
        build_explainer("CAM", SplitModel(backbone, image_shape=(3, 16, 16)))
    early = SplitModel(timm.create_model("test_resnet", num_classes=5), image_shape=(3, 64, 64), layer="layer2")
    with pytest.raises(ToolError, match="the last feature map: leave --cam_layer out or use GradCAM"):
        build_explainer("CAM", early)

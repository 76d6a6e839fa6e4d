"""Properties of every attribution method."""

import pytest
import timm
import torch

from engine.explain.attribution.registry import METHODS, MethodSettings, SplitModel, build_explainer
from tools import ToolError

TARGETS = torch.tensor([[0, 3], [1, 1]])
GRID = {"Extremal", "RISE", "Occlusion", "IntegratedGradients"}  # maps at the picture's resolution


def build(name, model, options, loader=None, seed=0):
    return build_explainer(name, model, loader=loader, options=options, seed=seed)


def test_the_names_and_their_order():
    assert list(METHODS) == [
        "CAM", "GradCAM", "GradCAMpp", "SmoothGradCAMpp", "XGradCAM", "LayerCAM", "ScoreCAM", "SSCAM", "ISCAM",
        "DeepLIFT", "IntegratedGradients", "Occlusion", "RISE", "Extremal", "IGOS", "IBA",
    ]  # fmt: skip


def test_an_unknown_name_is_an_error(pooled):
    with pytest.raises(ToolError, match="unknown attribution method 'gradcam': choose one of CAM, GradCAM, GradCAMpp"):
        build_explainer("gradcam", pooled)


@pytest.mark.parametrize("name", METHODS)
def test_a_call_leaves_nothing_behind_and_repeats(name, small, tiny, batches, pictures, left_behind):
    small.train()
    small.backbone.stem.eval()
    small.backbone.fc.bias.requires_grad_(False)
    small.backbone.fc.weight.grad = torch.ones_like(small.backbone.fc.weight)
    images = pictures(2, 32)
    before, untouched = left_behind(small), images.clone()
    explain = build(name, small, tiny, batches())
    maps = explain(images, TARGETS)
    assert left_behind(small) == before
    assert torch.equal(images, untouched) and not images.requires_grad
    assert not maps.requires_grad and maps.dtype == torch.float32
    assert torch.equal(explain(images, TARGETS), maps)
    with torch.inference_mode():
        assert torch.equal(build(name, small, tiny, batches())(images.clone(), TARGETS), maps)


@pytest.mark.parametrize("name", METHODS)
def test_an_error_leaves_nothing_behind(name, small, tiny, batches, pictures, left_behind, monkeypatch):
    explain = build(name, small, tiny, batches())
    small.train()

    def broken(feature_map):
        raise ArithmeticError("broken")

    monkeypatch.setattr(small.backbone, "forward_features" if name == "CAM" else "forward_head", broken)
    before = left_behind(small)
    with pytest.raises(ArithmeticError):
        explain(pictures(2, 32), TARGETS)
    assert left_behind(small) == before


@pytest.mark.parametrize("name", METHODS)
def test_a_map_depends_on_its_picture_and_class_alone(name, small, tiny, batches, pictures):
    images = pictures(3, 32)
    targets = torch.tensor([[0, 3], [1, 4], [2, 0]])
    explain = build(name, small, tiny, batches())
    maps = explain(images, targets)
    assert maps.isfinite().all()
    # rounding differences between batch sizes grow in the optimised masks
    close = {"rtol": 1e-3, "atol": 1e-3 * maps.abs().max().item()}
    torch.testing.assert_close(explain(images[1:2], targets[1:2]), maps[1:2], **close)
    torch.testing.assert_close(explain(images[[2, 0]], targets[[2, 0]].flip(1)), maps[[2, 0]].flip(1), **close)
    # and not on how many go through the model at a time
    chunks = MethodSettings(**{**vars(tiny), "batch_size": 3})
    torch.testing.assert_close(build(name, small, chunks, batches())(images, targets), maps, **close)


@pytest.mark.parametrize("name", ["SmoothGradCAMpp", "SSCAM", "RISE", "Extremal", "IGOS", "IBA"])
def test_another_seed_gives_other_maps(name, small, tiny, batches, pictures):
    # an early layer: the gradients of a linear head are the same whatever the noise
    model = SplitModel(small.backbone, image_shape=(3, 32, 32), layer="stem")
    maps = [build(name, model, tiny, batches(), seed=seed)(pictures(1, 32), TARGETS[:1]) for seed in (0, 1)]
    assert not torch.equal(*maps)


@pytest.mark.parametrize("name", ["ScoreCAM", "SSCAM", "ISCAM", "Occlusion", "RISE"])
def test_many_classes_cost_as_much_as_one(name, small, tiny, pictures, counted):
    images = pictures(1, 32)
    explain = build(name, small, tiny)
    seen = counted(small)
    explain(images, TARGETS[:1, :1])
    one = sum(seen)
    explain(images, torch.arange(5)[None])
    assert sum(seen) == 2 * one
    assert METHODS[name].cost(small, tiny, 5) == pytest.approx(one, abs=1)


@pytest.mark.parametrize("t", [1, 4])
@pytest.mark.parametrize(("name", "layer"), [
    ("DeepLIFT", None), ("DeepLIFT", "stem"), ("IntegratedGradients", None), ("IntegratedGradients", "stem"),
])  # fmt: skip
def test_the_cost_is_that_of_the_passes_through_the_backbone(name, layer, t, small, tiny, pictures):
    """A picture that goes forward counts one, a gradient that comes back two."""
    model, passes = SplitModel(small.backbone, image_shape=(3, 32, 32), layer=layer), []
    explain = build(name, model, tiny)

    def count(module, args, output):
        passes.append(len(output))
        if output.requires_grad:
            output.register_hook(lambda gradient: passes.append(2 * len(gradient)))

    handle = small.backbone.act.register_forward_hook(count)
    explain(pictures(1, 32), torch.arange(t)[None])
    handle.remove()
    assert METHODS[name].cost(model, tiny, t) == sum(passes)


def test_the_slow_methods_are_those_of_high_cost():
    model = SplitModel(timm.create_model("resnet18", num_classes=5), image_shape=(3, 64, 64))
    slow = [name for name, method in METHODS.items() if method.cost(model, MethodSettings(), 1) > 200]
    assert slow == [name for name, method in METHODS.items() if method.slow]


@pytest.mark.parametrize("targets", [torch.tensor([0, 1]), torch.tensor([[0], [5]]), torch.tensor([[0], [-1]])])
def test_targets_of_a_wrong_shape_or_class_are_an_error(targets, small, tiny, pictures):
    with pytest.raises(ToolError, match=r"give \(b, t\)|not classes of a model with 5"):
        build("GradCAM", small, tiny)(pictures(2, 32), targets)


# A family of backbones, whether CAM is possible, and a layer with few channels, for the methods that try each.
FAMILIES = [
    ("resnet18", True, "maxpool"),
    ("resnest26d", True, "conv1.0"),
    ("tf_efficientnet_lite0", True, "blocks.0"),
    ("densenet121", True, "features.pool0"),
    ("mobilenetv3_small_100", False, "blocks.0"),
    ("convnext_atto", False, "stem"),
]


@pytest.mark.parametrize(("backbone", "has_cam", "layer"), FAMILIES, ids=[family[0] for family in FAMILIES])
def test_every_method_runs_on_every_family(backbone, has_cam, layer, tiny, batches, pictures):
    torch.manual_seed(0)
    backbone = timm.create_model(backbone, num_classes=5)
    whole = SplitModel(backbone, image_shape=(3, 64, 64))
    early = SplitModel(backbone, image_shape=(3, 32, 32), layer=layer)
    quick = {"ss_samples": 1, "is_samples": 1, "rise_masks": 4, "extremal_steps": 1, "igos_steps": 1, "ig_steps": 2}
    options = MethodSettings(**{**vars(tiny), **quick, "occlusion_window": 1.0})
    targets = TARGETS[:1]
    for name in METHODS:
        model = early if name in {"ScoreCAM", "SSCAM", "ISCAM"} else whole
        if name == "CAM" and not has_cam:
            with pytest.raises(ToolError, match=r"CAM needs .* one linear layer, which \w+ does not have: use GradCAM"):
                build(name, model, options)
            continue
        images = pictures(1, model.image_shape[1])
        maps = build(name, model, options, batches(size=64, count=4))(images, targets)
        size = (64, 64) if name in GRID else (8, 8) if name == "IGOS" else model.layer_shape[1:]
        assert maps.shape == (1, 2, *size), name
        assert maps.isfinite().all(), name

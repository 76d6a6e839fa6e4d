import pytest
import timm
import torch

from engine.explain.attribution.registry import SplitModel
from engine.explain.attribution.split_model import each_pair, forward_from_leaf, frozen, on_output
from tools import ToolError


def test_features_and_head_make_the_backbone(small, pictures):
    images = pictures(2, 32)
    small.eval()
    assert torch.equal(small(images), small.backbone(images))
    assert torch.equal(small.head(small.features(images)), small.backbone(images))
    assert small.layer is small.tap and small.layer_shape == small.map_shape == (8, 8, 8)
    assert {id(p) for p in small.parameters()} == {id(p) for p in small.backbone.parameters()}
    assert all(name.startswith("backbone.") for name in small.state_dict())


def test_a_layer_by_its_name():
    backbone = timm.create_model("test_resnet", num_classes=5)
    model = SplitModel(backbone, image_shape=(3, 64, 64), layer="layer2")
    assert model.layer is backbone.layer2 and not model.at_tap
    assert model.layer_shape == (48, 8, 8) and model.map_shape == (96, 2, 2) and model.num_classes == 5


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("layr4", r"unknown layer 'layr4' in ResNet: did you mean layer4"),
        ("fc", r"layer 'fc' of ResNet returns \(1, 5\) for 64x64 pictures: choose one with a map"),
        ("global_pool.pool", r"returns \(1, 96, 1, 1\) for 64x64 pictures"),
    ],
)
def test_a_layer_without_a_map_is_an_error(layer, message):
    with pytest.raises(ToolError, match=message):
        SplitModel(timm.create_model("test_resnet", num_classes=5), image_shape=(3, 64, 64), layer=layer)


def test_pictures_too_small_for_several_places_are_an_error():
    with pytest.raises(ToolError, match=r"returns \(1, 96, 1, 1\) for 32x32 pictures"):
        SplitModel(timm.create_model("test_resnet", num_classes=5), image_shape=(3, 32, 32))


def test_a_layer_that_runs_twice_or_never_is_an_error(small):
    backbone = small.backbone
    backbone.spare = torch.nn.Identity()
    with pytest.raises(ToolError, match="layer 'spare' of Residual runs 0 times"):
        SplitModel(backbone, image_shape=(3, 32, 32), layer="spare")
    backbone.stem.append(backbone.act)
    with pytest.raises(ToolError, match="layer 'act' of Residual runs 2 times"):
        SplitModel(backbone, image_shape=(3, 32, 32), layer="act")


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_features_that_are_no_map_of_channels_are_refused(name):
    backbone = timm.create_model(name, num_classes=5)
    size = backbone.default_cfg["input_size"][1]
    with pytest.raises(ToolError, match=r"gives features of shape \(1, .*\), not \(b, f, h, w\)") as error:
        SplitModel(backbone, image_shape=(3, size, size))
    assert "\n" not in str(error.value)


def test_frozen_restores_what_it_changed(small, left_behind):
    small.train()
    small.backbone.stem.eval()
    before = left_behind(small)
    with pytest.raises(KeyError), torch.no_grad(), frozen(small):
        assert not any(module.training for module in small.modules())
        assert not any(parameter.requires_grad for parameter in small.parameters())
        assert torch.is_grad_enabled()
        raise KeyError
    assert left_behind(small) == before


def test_a_leaf_is_not_changed_by_modules_that_work_in_place(pictures):
    backbone = timm.create_model("test_resnet", num_classes=5)
    model = SplitModel(backbone, image_shape=(3, 64, 64), layer="layer4.0.bn2")  # a shortcut follows, in place
    images, seen = pictures(1, 64), []
    with frozen(model):
        leaf, logits = forward_from_leaf(model, images)
        with on_output(model.layer, lambda output: seen.append(output.clone())):
            model(images)
        assert torch.equal(leaf, seen[0])
        assert torch.autograd.grad(logits.sum(), leaf)[0].abs().sum() > 0


def test_pairs_come_back_in_order():
    images, targets = torch.tensor([10.0, 20, 30]).view(3, 1, 1, 1), torch.tensor([[1, 2], [3, 4], [5, 6]])
    sizes = []

    def add(pictures, classes):
        sizes.append(len(pictures))
        return (pictures[:, 0, 0, 0] + classes).view(-1, 1, 1)

    sums = each_pair(add, images, targets, 4)
    assert sums[:, :, 0, 0].tolist() == [[11, 12], [23, 24], [35, 36]]
    assert sizes == [4, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("coat_tiny", r"CoaT gives features of several tensors, not \(b, f, h, w\)"),
        ("crossvit_tiny_240", "CrossVit gives no features"),
    ],
)
def test_families_without_a_map_are_refused_in_one_line(name, message):
    with pytest.raises(ToolError, match=message) as error:
        SplitModel(timm.create_model(name, num_classes=5, img_size=(64, 64)), image_shape=(3, 64, 64))
    assert "\n" not in str(error.value)

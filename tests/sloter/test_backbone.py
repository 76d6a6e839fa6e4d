import pytest
import torch
from torch import nn

from sloter import ModelError
from sloter.backbone import create_backbone, grid_features
from sloter.slot_model import build_model

FAMILIES = [
    "resnet18", "resnest26d", "seresnet50", "tf_efficientnet_lite0", "densenet121", "mobilenetv3_small_100",
    "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224",
]  # fmt: skip
SIZE = (64, 96)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_gives_a_grid_and_every_parameter_a_gradient(name):
    images = torch.randn(2, 1, *SIZE)
    for out_stage in (None, 2):
        model = build_model(backbone=name, num_classes=3, in_chans=1, img_size=SIZE, out_stage=out_stage)
        output = model(images)
        stride = 16 if name.startswith("vit") else 32 if out_stage is None else 8
        assert output.attn.shape == (2, 3, 3, SIZE[0] // stride, SIZE[1] // stride)
        (output.logits.sum() + output.attn.sum()).backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_the_plain_classifier_of_each_family_trains_whole_and_cut(name):
    for out_stage in (None, 2):
        model = build_model(backbone=name, num_classes=3, img_size=SIZE, out_stage=out_stage, use_slot=False)
        model(torch.randn(2, 3, *SIZE)).logits.sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_tokens_lie_in_the_grid_row_by_row():
    torch.manual_seed(0)
    vit = create_backbone("test_vit", num_classes=0, in_chans=3, img_size=(160, 160)).eval()
    images = torch.randn(1, 3, 160, 160)
    tokens = vit.forward_features(images)[:, vit.num_prefix_tokens :]
    grid = grid_features(vit, images)
    torch.testing.assert_close(grid[0, :, 1, 3], tokens[0, 10 * 1 + 3])


@pytest.mark.parametrize("name", FAMILIES)
def test_four_frozen_stages_leave_only_the_head_trainable(name):
    model = build_model(backbone=name, num_classes=3, img_size=SIZE, use_slot=False, freeze_stages=4)
    trainable = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trainable and all("head" in n or "fc" in n or "classifier" in n for n in trainable)
    classifier = model.backbone.get_classifier()
    assert all(p.requires_grad for p in classifier.parameters())


def test_frozen_stages_keep_weights_and_statistics_while_the_rest_trains():
    torch.manual_seed(0)
    model = build_model(backbone="resnet18", num_classes=2, img_size=SIZE, freeze_stages=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    model.eval()
    model.train()
    model(torch.randn(4, 3, *SIZE)).logits.square().sum().backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    kept = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2")
    assert not any(name.startswith(kept) for name in moved)
    assert {"backbone.layer3.0.bn1.running_mean", "backbone.layer3.0.downsample.0.weight", "conv1x1.weight"} <= moved


def test_zero_frozen_stages_freeze_nothing():
    model = build_model(backbone="resnet18", num_classes=2, img_size=SIZE, freeze_stages=0)
    assert all(p.requires_grad for p in model.parameters())


def test_a_size_that_the_backbone_cannot_take_is_an_error_of_one_line():
    with pytest.raises(ModelError, match="no feature map of 40x40 pictures") as caught:
        build_model(backbone="inception_v3", num_classes=2, img_size=(40, 40))
    assert "\n" not in str(caught.value)


def test_the_stem_of_the_published_mnist_models():
    model = build_model(backbone="resnet18", num_classes=2, in_chans=1, img_size=SIZE, stem="3x3")
    assert isinstance(model.backbone.conv1, nn.Conv2d)
    assert model.backbone.conv1.weight.shape == (64, 1, 3, 3) and model.backbone.conv1.stride == (2, 2)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])  # norm and activation apart, and in one module
def test_synchronised_batch_norm_changes_neither_the_model_nor_what_is_frozen(name):
    torch.manual_seed(0)
    model = build_model(backbone=name, num_classes=2, img_size=(64, 64), pretrained=False)
    model.freeze(1)
    images, before = torch.randn(2, 3, 64, 64), {key: value.clone() for key, value in model.state_dict().items()}
    logits = model.eval()(images).logits
    parameters = list(model.parameters())
    model.synchronise_batch_norm()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(module, nn.SyncBatchNorm) for module in norms)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))  # those that an optimizer has
    assert list(model.state_dict()) == list(before)
    torch.testing.assert_close(model.eval()(images).logits, logits)
    trained = [module.training for module in model.train().modules() if isinstance(module, nn.SyncBatchNorm)]
    frozen = [not module.weight.requires_grad for module in norms]
    assert trained == [not is_frozen for is_frozen in frozen] and any(frozen) and any(trained)

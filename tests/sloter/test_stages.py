import pytest
import timm
import torch

from sloter import ModelError
from sloter.backbone import create_backbone, grid_features
from sloter.slot_model import build_model
from sloter.stages import frozen_parameters

SIZE = (64, 96)


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "densenet121", "convnext_atto"])
def test_a_cut_backbone_gives_an_intermediate_feature_map_of_the_whole(name):
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=0).eval()
    cut = create_backbone(
        name, num_classes=0, in_chans=3, img_size=SIZE, out_stage=3, weights=whole.state_dict()
    ).eval()  # fmt: skip
    images = torch.randn(1, 3, *SIZE)
    index = max(i for i, f in enumerate(whole.feature_info) if f["reduction"] == 16)
    inside = whole.forward_intermediates(images, indices=[index], intermediates_only=True, output_fmt="NCHW")[0]
    torch.testing.assert_close(grid_features(cut, images), inside)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet18", ["layer1.1.bn2.bias", "layer2.1.bn2.bias", "layer3.1.bn2.bias", "layer4.1.bn2.bias"]),
        # strides 4, 8, 16 and 32 end in blocks 1, 2, 4 and 6 of seven; the last stage has the head convolution too
        ("tf_efficientnet_lite0", ["blocks.1.1.bn3.bias", "blocks.2.1.bn3.bias", "blocks.4.2.bn3.bias", "bn2.bias"]),
        ("vit_tiny_patch16_224", [*(f"blocks.{i}.mlp.fc2.bias" for i in (2, 5, 8)), "norm.bias"]),
        ("densenet121", ["features.transition1.conv.weight", "features.transition2.conv.weight",
                         "features.transition3.conv.weight", "features.norm5.bias"]),
    ],
)  # fmt: skip
def test_frozen_stages_end_at_their_resolution(name, last):
    backbone = timm.create_model(name, num_classes=7)
    for stages, expected in enumerate(last, start=1):
        frozen = frozen_parameters(backbone, stages)
        assert [n for n, _ in backbone.named_parameters() if n in frozen][-1] == expected


def test_a_missing_stage_is_an_error():
    with pytest.raises(ModelError, match="there is no stage 5 in ResNet: choose one of 1, 2, 3, 4"):
        build_model(backbone="resnet18", num_classes=2, img_size=SIZE, freeze_stages=5)


def test_families_without_stages_are_an_error_instead_of_wholly_frozen():
    for name in ("poolformer_s12", "hrnet_w18_small"):
        with pytest.raises(ModelError, match="defines no layer groups"):
            build_model(backbone=name, num_classes=2, img_size=SIZE, freeze_stages=1)


def test_layers_after_the_features_are_not_trained():
    model = build_model(backbone="ghostnet_100", num_classes=2, img_size=SIZE)
    model(torch.randn(2, 3, *SIZE)).logits.sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not model.backbone.conv_head.weight.requires_grad


def test_a_family_with_only_a_fine_matcher_freezes_by_it():
    backbone = timm.create_model("rdnet_tiny", num_classes=0)
    frozen = frozen_parameters(backbone, 1)
    names = [name for name, _ in backbone.named_parameters() if name in frozen]
    print(names[0], names[-1], len(names))
    assert names[0].startswith("stem") and names[-1].startswith("dense_stages.0")
    assert not any(name.startswith(("dense_stages.1.", "dense_stages.3.")) for name in names)

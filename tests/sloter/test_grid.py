import logging

import pytest
import timm
import torch

from sloter import ModelError
from sloter.backbone import create_backbone, grid_features
from sloter.slot_model import build_model


def backbone(name, *, size=(64, 64), **options):
    torch.manual_seed(0)
    return create_backbone(name, num_classes=0, in_chans=3, img_size=size, **options).eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "convnext_atto", "densenet121"])
def test_features_that_are_a_grid_already_are_those_of_forward_features(name):
    model = backbone(name)
    assert getattr(model, "grid_call", None) is None
    images = torch.randn(1, 3, 64, 64)
    features = model.forward_features(images)
    features = features if features.ndim == 4 else features[:, model.num_prefix_tokens :].mT.unflatten(2, (4, 4))
    assert torch.equal(grid_features(model, images), features)


@pytest.mark.parametrize(
    ("name", "grid"),
    [("xcit_nano_12_p8_224", (8, 12)), ("levit_128s", (1, 2)), ("pit_ti_224", (2, 3)), ("gmlp_ti16_224", (4, 6)),
     ("coat_tiny", (2, 3)), ("cait_xxs24_224", (4, 6))],
)  # fmt: skip
def test_families_without_a_map_give_their_last_intermediate_one(name, grid):
    model = backbone(name, size=(64, 96))
    images = torch.randn(2, 3, 64, 96)
    features = grid_features(model, images)
    assert features.shape[2:] == grid
    alone = torch.cat([grid_features(model, image[None]) for image in images])
    torch.testing.assert_close(features, alone, rtol=1e-3, atol=1e-4)


def test_what_lies_in_a_place_of_the_picture_lies_there_in_the_grid():
    model = backbone("cait_xxs24_224", size=(64, 96))
    images = torch.randn(1, 3, 64, 96)
    changed = images.clone()
    changed[..., 48:64, 64:80] *= -1  # the patch of row 3, column 4
    difference = (grid_features(model, changed) - grid_features(model, images)).norm(dim=1)[0]  # (h, w)
    assert divmod(int(difference.argmax()), 6) == (3, 4)


def test_parameters_beyond_the_intermediate_map_are_not_trained():
    model = build_model(backbone="cait_xxs24_224", num_classes=2, img_size=(64, 64), hidden_dim=16)
    model(torch.randn(2, 3, 64, 64)).logits.sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        ("mvitv2_tiny", (64, 96), {}, r"timm cannot build 'mvitv2_tiny' for 64x96 pictures \(AssertionError: .*assert"),
        ("nest_tiny", (64, 96), {}, "Model only handles square inputs"),
        ("halonet_h1", (64, 64), {}, r"no feature map of 64x64 pictures \(AssertionError: .*block_size"),
        ("crossvit_tiny_240", (64, 64), {}, "no feature map of 64x64 pictures"),
        ("crossvit_tiny_240", (240, 240), {"out_stage": 2}, "no stages of strides 4, 8, 16 or 32"),
    ],
)
def test_what_timm_cannot_do_is_an_error_of_one_line(name, size, options, message):
    for use_slot in (True, False):
        with pytest.raises(ModelError, match=message) as error:
            build_model(backbone=name, num_classes=2, img_size=size, use_slot=use_slot, **options)
        assert "\n" not in str(error.value)


def test_a_margin_that_no_map_sees_is_reported(caplog):
    with caplog.at_level(logging.WARNING):
        backbone("vit_tiny_patch16_224", size=(47, 64))
    for part in ("--img_size 47x64: the 16x16 patches of 'vit_tiny_patch16_224' cover 32x64 pixels; 32 % of each",
                 "is seen by no map", "--img_size 48x64 has no such margin"):  # fmt: skip
        assert part in caplog.text


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch16_224", (48, 64)), ("test_resnet", (47, 63))])
def test_pictures_that_are_seen_whole_give_no_note(name, size, caplog):
    with caplog.at_level(logging.WARNING):
        backbone(name, size=size)
    assert "--img_size" not in caplog.text


def test_the_margin_changes_no_feature():
    model = backbone("vit_tiny_patch16_224", size=(47, 64))
    images = torch.randn(1, 3, 47, 64)
    changed = images.clone()
    changed[..., 32:, :] = 5
    assert torch.equal(grid_features(model, images), grid_features(model, changed))


def test_a_distilled_model_without_its_second_classifier_is_refused_or_trains():
    assert timm.is_model("deit_tiny_distilled_patch16_224")
    for use_slot, out_stage in ((True, 2), (False, 2), (False, None)):
        try:
            model = build_model(backbone="deit_tiny_distilled_patch16_224", num_classes=2, img_size=(64, 64),
                                out_stage=out_stage, use_slot=use_slot)  # fmt: skip
        except ModelError as error:
            assert "\n" not in str(error)
            assert not use_slot and out_stage
            continue
        assert model(torch.randn(2, 3, 64, 64)).logits.shape == (2, 2)

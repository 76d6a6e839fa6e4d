"""The fast slot attention and the loss compute what the published equations say."""

import pytest
import torch

from sloter import paper
from sloter.loss import ScouterLoss
from sloter.slot_attention import SlotAttention
from sloter.slot_model import SlotOutput, build_model


@pytest.mark.parametrize(("iters", "to_k_layers"), [(2, 0), (3, 1), (3, 2)])
def test_fast_slot_attention_agrees_with_the_published_equations(iters, to_k_layers):
    torch.manual_seed(0)
    plain = paper.PaperSlotAttention(3, 2, 16, to_k_layers=to_k_layers, iters=iters)
    ours = SlotAttention(3, 2, 16, to_k_layers=to_k_layers, iters=iters)
    ours.load_state_dict(plain.state_dict())
    values = torch.rand(2, 12, 16)
    logits, attn = plain(values + 0.1, values)
    evidence, maps, _ = ours(values + 0.1, values)
    torch.testing.assert_close(evidence, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps.flatten(1, 2), attn, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_whole_head_and_its_loss_agree_with_the_published_equations(sign):
    torch.manual_seed(0)
    model = build_model(
        backbone="test_resnet", num_classes=3, slots_per_class=2, img_size=(32, 64), out_stage=2, loss_status=sign
    ).eval()  # fmt: skip
    plain = paper.PaperSlotAttention(3, 2, 64, sign=sign)
    plain.load_state_dict(model.slot.state_dict())
    images, target = torch.randn(2, 3, 32, 64), torch.tensor([2, 0])
    features = model.backbone.forward_features(images)
    logits, attn = plain(*paper.inputs(features, model.conv1x1, model.position))
    output = model(images)
    torch.testing.assert_close(output.logits, logits, rtol=1e-4, atol=1e-5)
    expected = paper.loss(logits, attn, target, lambda_value=2.0, power=1.5)
    found = ScouterLoss(lambda_value=2.0, power=1.5)(SlotOutput(*output), target)["loss"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

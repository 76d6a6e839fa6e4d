import dataclasses

import pytest
import torch

from engine.explain.slots import Explanation, explain_picture, interesting_classes, slot_explainer
from sloter.slot_model import build_model


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(
        backbone="test_resnet", num_classes=4, in_chans=1, img_size=(32, 48), out_stage=2, slots_per_class=2,
        attention="qknorm", loss_status=-1,
    )  # fmt: skip


def test_an_explainer_gives_the_classes_asked_for(model):
    images, targets = torch.randn(2, 1, 32, 48), torch.tensor([[3, 0, 1], [2, 2, 0]])
    output = model.eval()(images)
    attention = slot_explainer(model, "attention")(images, targets)
    evidence = slot_explainer(model, "evidence")(images, targets)
    assert attention.shape == evidence.shape == (2, 3, 4, 6)
    torch.testing.assert_close(attention[1, 0], output.attn[1, 2].sum(0))
    torch.testing.assert_close(attention[0, 1], output.attn[0, 0].sum(0))
    logits = output.logits.gather(1, targets)
    torch.testing.assert_close(-evidence.sum((2, 3)), logits, rtol=1e-5, atol=1e-6)


def test_the_evidence_of_a_picture_sums_to_its_logits(model):
    explanation = explain_picture(model, torch.randn(1, 32, 48))
    assert explanation.attention.shape == explanation.evidence.shape == (4, 4, 6)
    torch.testing.assert_close(-explanation.evidence.sum((1, 2)), explanation.logits, rtol=1e-5, atol=1e-6)
    assert explanation.probabilities.sum().item() == pytest.approx(1.0)


def test_an_unknown_kind_of_map_is_an_error(model):
    with pytest.raises(ValueError, match="unknown kind of map 'saliency': choose one of attention, evidence"):
        slot_explainer(model, "saliency")


@pytest.mark.parametrize(
    ("negative", "label", "expected"),
    [(False, None, [2, 0]), (False, 3, [2, 0, 3]), (True, 2, [2, 0, 1])],
)
def test_the_classes_to_show(negative, label, expected):
    logits = torch.tensor([2.0, -9.0, 5.0, 1.0])  # most likely 2, then 0; least likely 1
    shown = Explanation(logits, logits.softmax(0), *[torch.zeros(4, 1, 1)] * 5)
    assert interesting_classes(shown, count=2, negative=negative, label=label) == expected
    both = dataclasses.replace(shown, two_sided=True)  # there is evidence against the least likely class, too
    assert interesting_classes(both, count=2, negative=negative, label=label)[-1] == 1


@pytest.mark.parametrize("reference", ["none", "mean", "quantile"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_parts_sum_to_the_logit_and_the_contrast_to_the_log_of_the_ratio(reference, sign):
    torch.manual_seed(0)
    model = build_model(
        backbone="test_resnet", num_classes=5, img_size=(32, 48), slots_per_class=2, hidden_dim=8, out_stage=2,
        attention="qknorm", value_weighting="equal", iters=1, loss_status=sign, reference=reference,
    )  # fmt: skip
    found = explain_picture(model, torch.randn(3, 32, 48))
    total = (found.why - found.why_not + found.common).sum((1, 2))
    torch.testing.assert_close(total, found.logits, rtol=1e-5, atol=1e-5)
    logarithms = found.logits.double().log_softmax(0)  # of the probabilities, which may be too small for a quotient
    nats = float(logarithms[3] - logarithms[1])
    assert found.contrast(3, 1).sum().item() == pytest.approx(nats, rel=1e-5, abs=1e-4)
    assert found.two_sided == (reference != "none")
    order = torch.tensor([4, 3, 2, 1, 0])
    assert (
        torch.equal(found.of_outputs(order).why, found.why[order])
        and found.of_outputs(order).two_sided == found.two_sided
    )

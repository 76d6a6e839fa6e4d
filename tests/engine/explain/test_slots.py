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

import pytest
import torch

from engine.explain.attribution.registry import METHODS, claim_of
from engine.explain.metrics.completeness import completeness_gap
from engine.explain.score import score_maps
from engine.explain.settings import MetricSettings
from engine.explain.slots import slot_claim, slot_explainer
from sloter.slot_model import build_model


def test_the_gap_by_hand():
    maps = torch.tensor([[[3.0, -1], [0, 0]], [[3, -1], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]])
    found = completeness_gap(maps, torch.tensor([2.0, 3.0, 0.0, 5.0]))
    assert found["completeness_gap"].tolist() == [0, 1, 0, 5]
    assert found["completeness"].tolist() == [0, 0.25, 0, 1]  # relative to 3 + 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("reference", ["none", "quantile"])
def test_the_evidence_of_slot_models_is_complete(sign, reference):
    torch.manual_seed(0)
    model = build_model(
        backbone="test_resnet", num_classes=5, img_size=(64, 64), out_stage=2, attention="qknorm", loss_status=sign,
        reference=reference,
    ).eval()  # fmt: skip
    images, labels = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])
    batch = type("Batch", (), {"images": images, "labels": labels, "numbers": torch.arange(4)})

    def measured(kind):
        return score_maps(
            slot_explainer(model, kind), lambda x: model(x).logits, [batch], num_classes=5, settings=MetricSettings(),
            metrics=["completeness"], claim=slot_claim(model, kind),
        )  # fmt: skip

    assert all(0 <= record["completeness"] < 1e-6 for record in measured("evidence"))
    assert measured("attention") == [{"number": number} for number in range(4)]


def test_only_the_methods_that_claim_a_sum_have_one(small_split):
    assert [name for name in METHODS if claim_of(name, small_split)] == ["DeepLIFT", "IntegratedGradients"]
    images, classes = torch.randn(2, 3, 8, 8), torch.tensor([1, 3])
    claim = claim_of("IntegratedGradients", small_split)
    logits, nothing = small_split(images), small_split(torch.zeros(1, 3, 8, 8))
    expected = torch.stack([logits[0, 1] - nothing[0, 1], logits[1, 3] - nothing[0, 3]])
    torch.testing.assert_close(claim(images, classes), expected)


@pytest.fixture
def small_split(network):
    model = network().eval()
    model.num_classes = 4
    return model

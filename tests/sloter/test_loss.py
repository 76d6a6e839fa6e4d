import math

import pytest
import torch

from sloter.loss import ScouterLoss, absent_evidence, attention_area, balanced_weights
from sloter.slot_model import SlotOutput


def test_by_hand():
    # equal logits of 4 classes: ce = log 4; attention 0.5 everywhere: area_loss = 0.25
    output = SlotOutput(torch.zeros(2, 4), torch.full((2, 4, 1, 3, 3), 0.5), torch.ones(2, 3, 3))
    losses = ScouterLoss(lambda_value=10, power=2)(output, torch.tensor([0, 3]))
    assert set(losses) == {"loss", "ce", "attn_mean", "area_loss"}
    assert float(losses["ce"]) == pytest.approx(math.log(4))
    assert float(losses["attn_mean"]) == pytest.approx(0.5)
    assert float(losses["area_loss"]) == pytest.approx(0.25)
    assert float(losses["loss"]) == pytest.approx(math.log(4) + 2.5)


def test_the_loss_of_a_plain_classifier_is_the_cross_entropy():
    logits = torch.tensor([[1.0, 3.0]], requires_grad=True)
    losses = ScouterLoss(lambda_value=5, power=1)(SlotOutput(logits), torch.tensor([1]))
    assert losses["loss"].item() == pytest.approx(math.log(1 + math.exp(-2)))
    losses["loss"].backward()
    assert logits.grad.isfinite().all()


def test_balanced_weights_are_inverse_to_class_size_with_mean_one():
    counts = torch.tensor([6, 2, 0, 4])
    weights = balanced_weights(counts)
    torch.testing.assert_close(weights, torch.tensor([12 / 18, 12 / 6, 1.0, 12 / 12]))
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)


def test_class_weights_multiply_the_loss_of_each_picture_in_training():
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    criterion = ScouterLoss(lambda_value=0, power=1, class_weights=torch.tensor([0.5, 2.0]))
    losses = criterion(SlotOutput(logits), torch.tensor([0, 1]))
    assert losses["ce"].item() == pytest.approx((0.5 * math.log(2) + 2.0 * math.log(4 / 3)) / 2)
    losses = criterion.eval()(SlotOutput(logits), torch.tensor([0, 1]))
    assert losses["ce"].item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_the_attention_penalty_has_its_gradient():
    attn = torch.full((1, 2, 1, 2, 2), 0.5, requires_grad=True)
    ScouterLoss(lambda_value=3, power=2)(SlotOutput(torch.zeros(1, 2), attn), torch.tensor([0]))["loss"].backward()
    torch.testing.assert_close(attn.grad, torch.full_like(attn, 3 * 2 * 0.5 / attn.numel()))


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0])])
def test_soft_labels_weight_the_loss_of_each_class_by_its_share(weights):
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    criterion = ScouterLoss(lambda_value=0, power=1, class_weights=weights)

    def cross_entropy(target):
        return criterion(SlotOutput(logits), target)["ce"].item()

    first, second = cross_entropy(torch.tensor([0, 0])), cross_entropy(torch.tensor([1, 1]))
    assert cross_entropy(torch.tensor([[1.0, 0.0], [1.0, 0.0]])) == pytest.approx(first)
    assert cross_entropy(torch.tensor([[0.25, 0.75], [0.25, 0.75]])) == pytest.approx(0.25 * first + 0.75 * second)


def test_temperature_and_smoothing_apply_in_training_only():
    criterion = ScouterLoss(lambda_value=1.0, power=1.0, label_smoothing=0.2, temperature=2.0)
    output, target = SlotOutput(torch.tensor([[2.0 * math.log(3.0), 0.0]])), torch.tensor([0])
    # halved, the logits are log 3 and 0: probabilities 3/4 and 1/4, targets 0.9 and 0.1
    expected = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    assert criterion.train()(output, target)["ce"].item() == pytest.approx(expected)
    assert criterion.eval()(output, target)["ce"].item() == pytest.approx(-math.log(9 / 10))


def test_relative_attention_is_counted_from_the_smallest_class_by_hand():
    # Two classes of two slots at one place: sums -1 and 3, so 0 and 4 above the smallest; a mean of 4 / 4 slots.
    attn = torch.tensor([[[-2.0, 1.0], [2.0, 1.0]]]).view(1, 2, 2, 1, 1)
    assert attention_area(attn, relative=True).tolist() == [1.0]
    assert attention_area(attn, relative=False).tolist() == [0.5]


@pytest.mark.parametrize("sign", [1, -1])
def test_absent_evidence_by_hand(sign):
    # One place worth 2; the second largest of the signed evidence 6, 4, 2 is the reference of three classes.
    attn = sign * torch.tensor([3.0, 2.0, 1.0]).view(1, 3, 1, 1, 1)
    output = SlotOutput(torch.zeros(1, 3), attn, torch.full((1, 1, 1), 2.0))
    assert absent_evidence(output, torch.tensor([1]), sign).tolist() == [1.0]  # 2 of the first class, of two absent
    assert absent_evidence(output, torch.tensor([0]), sign).tolist() == [0.0]
    assert absent_evidence(output, torch.tensor([[0.25, 0.75, 0.0]]), sign).tolist() == [0.75]
    criterion = ScouterLoss(lambda_value=0, power=1, absent_weight=0.5, relative=True, loss_status=sign)
    assert float(criterion(output, torch.tensor([1]))["loss"]) == pytest.approx(math.log(3) + 0.5)
    assert float(criterion.eval()(output, torch.tensor([1]))["loss"]) == pytest.approx(math.log(3))


def test_no_attention_has_a_finite_gradient_at_every_power():
    for power in (0.5, 1, 2):
        attn = torch.zeros(2, 1, 1, 2, 2, requires_grad=True)
        output = SlotOutput(torch.zeros(2, 1), attn - 1e-10, torch.ones(2, 2, 2))
        found = ScouterLoss(lambda_value=1, power=power)(output, torch.zeros(2, dtype=torch.long))
        found["loss"].backward()
        assert found["area_loss"].isfinite() and attn.grad.isfinite().all()

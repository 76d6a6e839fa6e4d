from typing import NamedTuple

import pytest
import torch

from engine import TrainingError
from engine.evaluate import evaluate
from engine.train import train_one_epoch


class Batch(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor


class Output(NamedTuple):
    logits: torch.Tensor
    attn: torch.Tensor | None = None


class Table(torch.nn.Module):
    """Answers with logits looked up by the picture's first value, and attention that equals that value."""

    def __init__(self, logits, attention=False):
        super().__init__()
        self.logits, self.attention = torch.nn.Parameter(torch.tensor(logits)), attention

    def forward(self, images):
        index = images.flatten(1)[:, 0].long()
        logits = self.logits[index]
        if not self.attention:
            return Output(logits)
        attn = (index / 10).view(-1, 1, 1, 1, 1).expand(-1, logits.shape[1], 1, 2, 2)
        return Output(logits, attn)


class Criterion:
    def __init__(self, power=1):
        self.power = power

    def __call__(self, output, labels):
        return self.combine(torch.nn.functional.cross_entropy(output.logits, labels), output.logits.new_zeros(()))

    def combine(self, ce, attn_mean):
        area = attn_mean**self.power
        return {"loss": ce + area, "ce": ce, "attn_mean": attn_mean, "area_loss": area}


def batches(*groups):
    return [Batch(torch.tensor(g, dtype=torch.float32).view(-1, 1, 1, 1), torch.tensor(labels)) for g, labels in groups]


def run_epoch(model, loader, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=options.pop("lr", 0.0))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return train_one_epoch(
        model, loader, Criterion(), optimizer, scheduler, epoch=2, epochs=5, device=torch.device("cpu"), **options
    )


def test_a_short_batch_weighs_as_much_as_its_samples():
    model = Table([[5.0, 0.0], [0.0, 5.0]])
    # three right in the first batch, one wrong in the second: three in four, not the mean of 1 and 0
    loader = batches(([0, 0, 1], [0, 0, 1]), ([0], [1]))
    figures = run_epoch(model, loader)
    assert figures["top1"] == pytest.approx(3 / 4) and figures["top5"] == 1.0
    right, wrong = torch.tensor([5.0, 0.0]).log_softmax(0).neg().tolist()
    assert figures["ce"] == pytest.approx((3 * right + wrong) / 4, rel=1e-5)
    assert set(figures) == {
        "loss", "ce", "attn_mean", "area_loss", "top1", "top5", "lr", "images_per_s", "seconds",
    }  # fmt: skip


def test_evaluation_is_the_same_however_it_is_batched():
    model = Table([[5.0, 0.0], [0.0, 5.0], [1.0, 2.0]], attention=True)
    whole = batches(([0, 1, 2, 2, 1], [0, 1, 0, 1, 0]))
    parts = batches(([0, 1, 2], [0, 1, 0]), ([2, 1], [1, 0]))
    one, two = (evaluate(model, x, Criterion(power=2), device=torch.device("cpu")) for x in (whole, parts))
    assert one == pytest.approx(two)
    assert one["top1"] == pytest.approx(3 / 5) and one["images"] == 5
    # attention 0, .1, .2, .2, .1: mean .12, whatever the batches; the power is taken of that mean
    assert one["attn_mean"] == pytest.approx(0.12) and one["area_loss"] == pytest.approx(0.12**2)
    assert one["loss"] == pytest.approx(one["ce"] + 0.12**2)


def test_a_plain_classifier_has_no_area():
    figures = evaluate(Table([[1.0, 0.0]]), batches(([0], [0])), Criterion(), device=torch.device("cpu"))
    assert "area" not in figures and figures["top1"] == 1.0


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step():
    model = Table([[1.0, 0.0], [float("nan"), 0.0]])
    loader = batches(([0], [0]), ([0], [0]), ([1], [0]), ([0], [0]))
    with pytest.raises(TrainingError, match=r"not finite in epoch 3, step 3; .* try a lower --lr"):
        run_epoch(model, loader)


def test_an_evaluation_that_is_not_finite_is_no_result():
    with pytest.raises(TrainingError, match="the model is broken: its loss over 1 pictures is nan"):
        evaluate(Table([[float("nan"), 0.0]]), batches(([0], [0])), Criterion(), device=torch.device("cpu"))


def test_the_gradient_is_clipped_to_its_whole_norm():
    model = Table([[0.0, 0.0]])
    run_epoch(model, batches(([0], [0])), lr=1.0, clip_grad=0.1)
    # the gradient (-.5, .5) is scaled to norm .1
    assert model.logits.detach().norm().item() == pytest.approx(0.1, rel=1e-4)

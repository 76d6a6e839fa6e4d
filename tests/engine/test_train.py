import contextlib
from typing import NamedTuple

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engine import TrainingError
from engine.evaluate import evaluate
from engine.optim_step import OptimStep, ema_of
from engine.train import EpochStopped, train_one_epoch


class Batch(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor


class Output(NamedTuple):
    logits: torch.Tensor
    attn: torch.Tensor | None = None


class Table(torch.nn.Module):
    """Model whose logits are looked up by the picture's first value, and whose attention is a tenth of that value."""

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

    def attention_area(self, attn):
        return attn.flatten(1).mean(1)

    def combine(self, ce, attn_mean):
        area = attn_mean**self.power
        return {"loss": ce + area, "ce": ce, "attn_mean": attn_mean, "area_loss": area}


def batches(*groups):
    return [Batch(torch.tensor(g, dtype=torch.float32).view(-1, 1, 1, 1), torch.tensor(labels)) for g, labels in groups]


CPU = torch.device("cpu")


def update_of(model, *, lr=0.0, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return OptimStep(model, optimizer, scheduler, device=CPU, **options)


def run_epoch(model, loader, *, stop=lambda: False, before=None, **options):
    update = update_of(model, **options)
    return train_one_epoch(model, loader, Criterion(), update, epoch=2, epochs=5, device=CPU, stop=stop, before=before)


def test_a_short_batch_weighs_as_much_as_its_samples():
    model = Table([[5.0, 0.0], [0.0, 5.0]])
    # three right in the first batch, one wrong in the second: three of four, not the mean of 1 and 0
    loader = batches(([0, 0, 1], [0, 0, 1]), ([0], [1]))
    metrics = run_epoch(model, loader)
    assert metrics["top1"] == pytest.approx(3 / 4) and metrics["top5"] == 1.0
    right, wrong = torch.tensor([5.0, 0.0]).log_softmax(0).neg().tolist()
    assert metrics["ce"] == pytest.approx((3 * right + wrong) / 4, rel=1e-5)
    assert set(metrics) == {
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
    metrics = evaluate(Table([[1.0, 0.0]]), batches(([0], [0])), Criterion(), device=torch.device("cpu"))
    assert "area" not in metrics and metrics["top1"] == 1.0


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step():
    model = Table([[1.0, 0.0], [float("nan"), 0.0]])
    loader = batches(([0], [0]), ([0], [0]), ([1], [0]), ([0], [0]))
    with pytest.raises(TrainingError, match=r"not finite in epoch 3, step 3; .* try a lower --lr"):
        run_epoch(model, loader)


def test_an_evaluation_that_is_not_finite_is_an_error():
    with pytest.raises(TrainingError, match="loss over 1 pictures is nan: the model's weights are not finite; test an"):
        evaluate(Table([[float("nan"), 0.0]]), batches(([0], [0])), Criterion(), device=torch.device("cpu"))


def test_the_gradient_is_clipped_to_its_whole_norm():
    model = Table([[0.0, 0.0]])
    run_epoch(model, batches(([0], [0])), lr=1.0, clip_grad=0.1)
    # the gradient (-.5, .5) is scaled to norm .1
    assert model.logits.detach().norm().item() == pytest.approx(0.1, rel=1e-4)


def test_accumulated_batches_make_the_step_of_one_large_batch():
    pictures, labels = [0, 1, 2, 1, 0, 2], [0, 1, 1, 0, 0, 1]
    large, small = (Table([[0.3, -0.2], [0.1, 0.5], [-0.4, 0.9]]) for _ in range(2))
    run_epoch(large, batches((pictures, labels)), lr=1.0)
    run_epoch(small, batches(*((pictures[i : i + 2], labels[i : i + 2]) for i in (0, 2, 4))), lr=1.0, accum_steps=3)
    torch.testing.assert_close(small.logits, large.logits)


def test_the_last_group_of_an_epoch_may_be_smaller():
    update = update_of(Table([[0.0, 0.0]]), accum_steps=3)
    groups = []
    for step in range(5):
        with update.batch(step, 5) as group:
            groups.append((group.size, group.is_complete))
    assert groups == [(3, False), (3, False), (3, True), (2, False), (2, True)]


def test_gradients_of_an_incomplete_group_stay_in_the_process():
    class Wrapped(Table):
        exchanged = 0

        @contextlib.contextmanager
        def no_sync(self):
            Wrapped.exchanged -= 1
            yield

        def forward(self, images):
            Wrapped.exchanged += 1
            return super().forward(images)

    run_epoch(Wrapped([[0.0, 0.0]]), batches(*[([0], [0])] * 6), accum_steps=3)
    assert Wrapped.exchanged == 2


def test_the_ema_follows_the_weights_and_warms_up():
    model = Table([[0.0, 0.0]])
    ema = ema_of(model, 0.5)
    update = update_of(model, lr=1.0, ema=ema)
    seen = []
    for _ in range(3):
        with update.batch(0, 1) as group:
            update.backward((model.logits * torch.tensor([[-1.0, 0.0]])).sum(), group)
        seen.append(ema.module.logits[0, 0].item())
    # weights 1, 2, 3; decay 0 at first, 1 - 2 ** (-2 / 3) = .370 then, and .5 at most, since 1 - 3 ** (-2 / 3) = .519
    second = 0.370039 * 1 + 0.629961 * 2
    assert seen == pytest.approx([1.0, second, 0.5 * second + 0.5 * 3], rel=1e-5)


def test_no_ema_without_a_decay():
    assert ema_of(Table([[0.0]]), None) is None


def test_a_loss_in_half_precision_is_scaled_and_its_gradient_is_not():
    model = Table([[0.0, 0.0]])
    update = update_of(model, lr=1.0, amp=torch.float16, clip_grad=10)
    with update.batch(0, 1) as group:
        # times the scale of 65,536 this gradient is representable; without it half precision would make it zero
        update.backward((model.logits.half() * torch.tensor([[2e-8, 0.0]])).sum(), group)
    assert model.logits[0, 0].item() == pytest.approx(-2e-8, rel=1e-2)


def test_a_resumed_epoch_ends_with_the_metrics_of_the_whole_one():
    parts = [([0, 0, 1], [0, 0, 1]), ([0], [1]), ([1, 1], [0, 1])]
    whole = run_epoch(Table([[5.0, 0.0], [0.0, 5.0]]), batches(*parts))
    with pytest.raises(EpochStopped) as stopped:
        run_epoch(Table([[5.0, 0.0], [0.0, 5.0]]), batches(*parts), stop=iter([False, True]).__next__)
    assert stopped.value.images == 4
    rest = run_epoch(Table([[5.0, 0.0], [0.0, 5.0]]), batches(parts[2]), before=stopped.value)
    timed = ("images_per_s", "seconds")
    assert {k: v for k, v in rest.items() if k not in timed} == pytest.approx(
        {k: v for k, v in whole.items() if k not in timed}
    )


def test_an_epoch_is_stopped_between_steps_of_the_weights_only():
    with pytest.raises(EpochStopped) as stopped:
        run_epoch(Table([[5.0, 0.0]]), batches(*[([0], [0])] * 5), accum_steps=3, stop=lambda: True)
    assert stopped.value.images == 3


class HostReads(TorchDispatchMode):
    """Counts the values that the host reads, each of which would wait for a device."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return function(*args, **(kwargs or {}))


def host_reads(steps, **options):
    with HostReads() as reads:
        run_epoch(Table([[5.0, 0.0]], attention=True), batches(*[([0], [0])] * steps), **options)
    return reads.count


def test_no_step_waits_for_the_device():
    options = {"clip_grad": 1.0, "amp": torch.bfloat16}
    # an epoch reads its metrics once, at its end, for any number of steps
    assert host_reads(3, **options) == host_reads(30, **options) < 10

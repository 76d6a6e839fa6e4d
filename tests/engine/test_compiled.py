"""Compilation with the backend ``eager``, which traces the model like every backend, and then runs it as it is."""

from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from engine import compiled as compiling
from engine.compiled import CompiledModel
from engine.optim import build_optimizer, build_scheduler
from engine.optim_step import OptimStep, ema_of
from sloter.slot_model import build_model


@pytest.fixture
def compiled(monkeypatch):
    """Compile a small model of two classes; returns it and the model."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    counters.clear()

    def make(**options):
        torch.manual_seed(0)
        model = build_model(
            backbone="test_resnet", num_classes=2, in_chans=3, img_size=(32, 32), out_stage=2, **options
        )
        return CompiledModel(model), model

    yield make
    torch._dynamo.reset()


def graphs():
    return counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("options", [{"use_slot": True}, {"use_slot": True, "attention": "qknorm"}])
def test_each_graph_is_compiled_once_over_epochs_with_a_short_last_batch(compiled, options):
    fast, model = compiled(**options)
    images = torch.randn(6, 3, 32, 32)
    for _ in range(2):
        fast.train()
        for _ in range(2):
            fast(images[:4]).logits.sum().backward()
        assert model.training and all(p.grad is not None for p in model.parameters() if p.requires_grad)
        fast.eval()
        with torch.no_grad():
            for part in (images[:4], images[4:], images[:1]):
                found, expected = fast(part), model(part)
                for ours, theirs in zip(found, expected, strict=True):
                    assert (ours is None) == (theirs is None)
                    if ours is not None:
                        assert ours.shape == theirs.shape
                        torch.testing.assert_close(ours, theirs)
        assert not model.training
    assert graphs() == 2 and not counters["graph_break"]  # one of training, one of evaluation, neither in pieces


def test_models_of_many_shapes_are_all_compiled(compiled, monkeypatch):
    assert torch._dynamo.config.recompile_limit >= 2 * compiling.MODELS_BEFORE_RESET
    monkeypatch.setattr(compiling, "MODELS_BEFORE_RESET", 1)  # fewer models take less time
    images = torch.randn(2, 3, 32, 32)
    for number in range(2):
        fast, _ = compiled(slots_per_class=1, hidden_dim=4 * (number + 1))
        before = graphs()
        for training in (True, False):
            fast.train(training)
            with torch.set_grad_enabled(training), torch._dynamo.config.patch(recompile_limit=2):
                fast(images)
        assert graphs() == before + 2


def test_channels_last_batches_are_filled_up_in_their_layout(compiled):
    fast, _ = compiled(use_slot=False)
    fast.eval()
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        fast(images)
        assert fast(images[:3]).logits.shape == (3, 2)
    assert graphs() == 1


def test_its_weights_are_those_of_the_model_and_its_ema(compiled):
    fast, model = compiled(use_slot=False)
    assert [p.data_ptr() for p in fast.parameters()] == [p.data_ptr() for p in model.parameters()]
    ema, optimizer = ema_of(model, 0.5), build_optimizer(model, lr=1.0, weight_decay=0.0)
    scheduler = build_scheduler(optimizer, sched="step", steps_per_epoch=1, epochs=1, lr_drop=9, warmup_epochs=0)
    update = OptimStep(fast, optimizer, scheduler, device=torch.device("cpu"), ema=ema)
    before = ema.module.backbone.fc.weight.clone()
    with update.batch(0, 1) as group:
        update.backward(fast(torch.randn(4, 3, 32, 32)).logits.square().mean(), group)
    kept = 1 - ema.get_decay(1)
    changed = before.lerp(model.backbone.fc.weight, kept)
    assert not torch.equal(changed, before) and torch.allclose(ema.module.backbone.fc.weight, changed)

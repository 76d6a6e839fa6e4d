import math

import pytest
import torch

from engine.optim import build_optimizer, build_scheduler, restore_optimizer
from engine.optim_step import OptimStep


def rates(**options):
    """Learning rate of each step of a run of 4 epochs of 2 steps, as shares of the full rate."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    config = {"sched": "step", "steps_per_epoch": 2, "epochs": 4, "lr_drop": 2, "warmup_epochs": 0.0, **options}
    scheduler = build_scheduler(optimizer, **config)
    found = []
    for _ in range(8):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def test_step_drops_to_a_tenth_after_lr_drop_epochs():
    assert rates() == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1])


def test_cosine_goes_from_one_to_zero():
    assert rates(sched="cosine") == pytest.approx([(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)])


def test_warmup_rises_linearly():
    assert rates(warmup_epochs=2, lr_drop=9) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("options", [{}, {"sched": "cosine"}, {"warmup_epochs": 3}])
def test_a_resumed_run_has_the_rates_of_the_uninterrupted_one(options):
    assert rates(done=2, **options)[:6] == pytest.approx(rates(**options)[2:])


@pytest.mark.parametrize(("before", "done"), [(3, 4), (5, 4), (4, 4), (1, 6)])
def test_the_schedule_is_aligned_with_the_epochs(before, done):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    options = {"sched": "cosine", "steps_per_epoch": 2, "epochs": 4, "lr_drop": 2, "warmup_epochs": 0.0}
    scheduler = build_scheduler(optimizer, **options, done=before)
    step = OptimStep(torch.nn.Linear(1, 1), optimizer, scheduler, device=torch.device("cpu"), done=before)
    optimizer.step()
    step.align(done)
    expected = (1 + math.cos(math.pi * done / 8)) / 2
    assert step.done == done and scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_a_restored_optimizer_keeps_its_state_but_takes_the_current_rate():
    parameter = torch.nn.Parameter(torch.ones(1))
    old, new = (torch.optim.AdamW([parameter], lr=lr, weight_decay=lr) for lr in (0.1, 0.2))
    parameter.sum().backward()
    old.step()
    build_scheduler(old, sched="step", steps_per_epoch=2, epochs=4, lr_drop=2, warmup_epochs=0)
    restore_optimizer(new, old.state_dict(), lr=0.2, weight_decay=0.3)
    scheduler = build_scheduler(new, sched="step", steps_per_epoch=2, epochs=4, lr_drop=2, warmup_epochs=0)
    assert scheduler.get_last_lr() == [0.2] and new.param_groups[0]["weight_decay"] == 0.3
    assert new.state[parameter]["step"] == 1


def test_many_steps_drop_exactly_at_their_epoch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_scheduler(optimizer, sched="step", steps_per_epoch=7, epochs=9, lr_drop=3, warmup_epochs=0)
    factor = scheduler.lr_lambdas[0]
    assert factor(20) == 1.0 and factor(21) == pytest.approx(0.1) and factor(42) == pytest.approx(0.01)


def test_frozen_parameters_are_not_optimised_and_the_decay_is_used():
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = build_optimizer(model, lr=0.1, weight_decay=0.3).param_groups
    assert len(group["params"]) == 1 and group["weight_decay"] == 0.3


def test_an_unknown_schedule_is_an_error():
    with pytest.raises(ValueError, match="unknown schedule 'poly': choose one of step, cosine"):
        rates(sched="poly")

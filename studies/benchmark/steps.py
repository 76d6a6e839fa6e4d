"""Whole models, a slot head and a linear classifier on the same backbone: training steps and forward passes."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from args import loss_options, model_config
from engine.cost import multiply_adds
from engine.optim import build_optimizer, build_scheduler
from engine.optim_step import OptimStep
from sloter.loss import ScouterLoss
from sloter.slot_model import build_model
from studies.benchmark.timing import Action, chosen_clock, matmul_rate, peak_memory, seconds_each
from tools.console import say
from tools.machine import amp_dtype, autocast

KERNELS = 15  # that take longest, in the table of a trace
ROUNDS = {True: 3, False: 10}


class Variant(NamedTuple):
    """Memory format, precision and compilation that models run with."""

    name: str
    channels_last: bool = False
    amp: torch.dtype | None = None
    compiled: bool = False


def variants(run: argparse.Namespace, device: torch.device) -> list[Variant]:
    """Single precision, then one fast option more at a time; compilation takes long and needs ``--compile true``."""
    fast = amp_dtype("auto" if run.amp == "off" else run.amp, device)
    found = [Variant("single precision"), Variant("channels last", channels_last=True)]
    if fast is not None:
        name = str(fast).removeprefix("torch.")
        found += [Variant(name, amp=fast), Variant(f"{name}, channels last", channels_last=True, amp=fast)]
    if run.compile:
        last = found[-1]
        found.append(last._replace(name=f"{last.name}, compiled", compiled=True))
    return found


def measure_train(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure a training step: forward, loss, backward, optimizer; returns rows of a table."""
    return list(rows(run, device, train=True))


def measure_infer(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure a forward pass in evaluation mode; returns rows of a table."""
    return list(rows(run, device, train=False))


def rows(run: argparse.Namespace, device: torch.device, *, train: bool) -> Iterator[dict[str, Any]]:
    """A row for each variant and number of classes; with ``--quick`` only the last variant has more than the first."""
    chosen = variants(run, device)
    clock = chosen_clock(run, device)
    rates = {dtype: matmul_rate(device, dtype, clock) for dtype in {variant.amp or torch.float32 for variant in chosen}}
    for variant in chosen:
        for c in run.class_counts if not run.quick or variant is chosen[-1] else run.class_counts[:1]:
            seconds, macs = compare(run, device, variant, c, train=train)
            linear, slot = seconds["linear"], seconds["slot"]
            yield {
                "train" if train else "infer": variant.name, "classes": c, "linear, s": linear, "slot, s": slot,
                "slot / linear": slot / linear, "pictures/s": run.batch_size / slot,
                "of matmul rate": f"{macs * run.batch_size / slot / rates[variant.amp or torch.float32]:.0%}",
                "peak, GB": peak_memory(device) / 2**30,
            }  # fmt: skip
        if run.trace and variant is chosen[-1]:
            trace(run, device, variant, train=train)


def compare(
    run: argparse.Namespace, device: torch.device, variant: Variant, c: int, *, train: bool
) -> tuple[dict[str, float], int]:
    """Seconds of the linear classifier and of the slot model, and the slot model's multiply-adds for one picture."""
    models = {name: model(run, device, variant, c, use_slot=name == "slot") for name in ("linear", "slot")}
    macs = multiply_adds(models["slot"].eval(), pictures(run, device, variant)[:1]) * (3 if train else 1)
    make = training if train else inference
    actions = {name: make(run, device, variant, built, c) for name, built in models.items()}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    title = f"{'train' if train else 'infer'}, {variant.name}, {c} classes"
    return seconds_each(
        actions, rounds=ROUNDS[run.quick], title=title, device=device, clock=chosen_clock(run, device)
    ), macs


def pictures(run: argparse.Namespace, device: torch.device, variant: Variant) -> torch.Tensor:
    """Pictures of noise (b, 3, H, W)."""
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    return torch.randn(run.batch_size, 3, *run.img_size, device=device).to(memory_format=layout)


def model(run: argparse.Namespace, device: torch.device, variant: Variant, c: int, *, use_slot: bool) -> nn.Module:
    """A model of c classes with the initial weights of ``--seed``."""
    torch.manual_seed(run.seed)
    flags = argparse.Namespace(**{**vars(run), "use_slot": use_slot})
    built = build_model(**model_config(flags, num_classes=c, in_chans=3)).to(device)
    built.to(memory_format=torch.channels_last if variant.channels_last else torch.contiguous_format)
    return built


def training(run: argparse.Namespace, device: torch.device, variant: Variant, built: nn.Module, c: int) -> Action:
    """A training step on pictures of noise."""
    noise, labels = pictures(run, device, variant), torch.randint(c, (run.batch_size,), device=device)
    return partial(training_step(run, device, variant, built), noise, labels)


def training_step(
    run: argparse.Namespace, device: torch.device, variant: Variant, built: nn.Module
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """A training step on pictures (b, 3, H, W) and their labels (b)."""
    criterion = ScouterLoss(**loss_options(run))
    optimizer = build_optimizer(built, lr=1e-6, weight_decay=0.01)
    scheduler = build_scheduler(optimizer, sched="step", steps_per_epoch=1000, epochs=1, lr_drop=1, warmup_epochs=0)
    update = OptimStep(built, optimizer, scheduler, device=device, amp=variant.amp)
    built.train()
    if variant.compiled:
        built.compile(dynamic=False)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        with update.batch(0, 1) as group:
            with update.autocast():
                output = built(images)
            update.backward(criterion(output, labels)["loss"], group)

    return step


def inference(run: argparse.Namespace, device: torch.device, variant: Variant, built: nn.Module, c: int) -> Action:
    """A forward pass of pictures of noise without gradients."""
    images = pictures(run, device, variant)
    built.eval()
    if variant.compiled:
        built.compile(dynamic=False)

    @torch.no_grad()
    def step() -> None:
        with autocast(device, variant.amp):
            built(images)

    return step


def trace(run: argparse.Namespace, device: torch.device, variant: Variant, *, train: bool) -> None:
    """Trace three steps of the slot model with the first number of classes: a file for Perfetto, a table of kernels."""
    built = model(run, device, variant, run.class_counts[0], use_slot=True)
    step = (training if train else inference)(run, device, variant, built, run.class_counts[0])
    step()
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(3):
            step()
    profile.export_chrome_trace(run.trace)
    longest = f"self_{'cuda' if device.type == 'cuda' else 'cpu'}_time_total"
    say(profile.key_averages().table(sort_by=longest, row_limit=KERNELS, max_name_column_width=60), several=True)

"""Augmentation of ``--aug true`` by the loading processes and on the device, and its share of a training step."""

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from dataset.changes import Change
from dataset.collate import Stack, collate
from dataset.loaders import images_on
from dataset.paper_augmentation import draw_change
from dataset.pictures import Sample
from studies.benchmark.steps import Variant, model, training
from studies.benchmark.timing import Action, clock_of, seconds_each
from tools.machine import amp_dtype, memory_format

BATCHES = {True: 4, False: 16}  # number of measured batches, with --quick and without
ROUNDS = {True: 3, False: 10}
CLASSES = 100
STEP = "training step"
# Each way to augment, and what is done without augmentation.
WAYS = {
    "stacked": "stacked",
    "augmented and stacked": "stacked",
    "stacked, augmentation prepared": "stacked",
    "normalised on the device": "normalised on the device",
    "augmented and normalised on the device": "normalised on the device",
}


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure the ways to augment batches of ``--batch_size`` pictures of noise; returns rows of a table.

    Seconds are those of this process on a core, or of a clock where a GPU shares the work. *Added* is what augmentation
    takes, also as a share of a training step of ``--model`` with slots.
    """
    variant = Variant("chosen", run.channels_last, amp_dtype(run.amp, device), run.compile)
    step = training(run, device, variant, model(run, device, variant, CLASSES, use_slot=True), CLASSES)
    seconds = seconds_each(
        {**ways(run, device), STEP: step}, rounds=ROUNDS[run.quick], title="augment", device=device,
        clock=clock_of(device),
    )  # fmt: skip
    count = run.batch_size * BATCHES[run.quick]
    each = {name: seconds[name] / count for name in WAYS} | {STEP: seconds[STEP] / run.batch_size}
    added = {name: each[name] - each[without] for name, without in WAYS.items()} | {STEP: 0.0}
    return [
        {
            "augment": name, "ms a picture": taken * 1000, "added, ms": added[name] * 1000,
            "added, of a step": f"{added[name] / each[STEP]:.1%}",
        }
        for name, taken in each.items()
    ]  # fmt: skip


def ways(run: argparse.Namespace, device: torch.device) -> dict[str, Action]:
    """Actions that do :data:`WAYS` to the same batches."""
    drawn = batches(run)
    plain = [[sample._replace(change=Change()) for sample in batch] for batch in drawn]
    stack = partial(collate, memory_format=memory_format(run.channels_last))
    mean, std = torch.full((2, 3, 1, 1), 0.5, device=device)
    images = partial(images_on, device, mean=mean, std=std)
    actions = (
        partial(for_all, stack, plain),
        partial(for_all, stack, drawn),
        partial(for_all, partial(stack, change=False), drawn),
        partial(for_all, images, loaded(map(stack, plain), device)),
        partial(for_all, images, loaded(map(partial(stack, change=False), drawn), device)),
    )
    return dict(zip(WAYS, actions, strict=True))


def batches(run: argparse.Namespace) -> list[list[Sample]]:
    """Pictures of noise, in the memory format of decoded ones, with changes drawn by ``--seed``."""
    torch.manual_seed(run.seed)
    noise = torch.randint(256, (run.batch_size, *run.img_size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    return [[Sample(pixels, 0, 0, draw_change()) for pixels in noise] for _ in range(BATCHES[run.quick])]


def loaded(stacks: Iterable[Stack], device: torch.device) -> list[Stack]:
    """Stacks as they leave torch's loader: for a GPU in pinned memory."""
    return list(DataLoader([*stacks], batch_size=None, pin_memory=device.type == "cuda"))  # type: ignore[arg-type]


def for_all(function: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Call the function with each item."""
    for item in items:
        function(item)

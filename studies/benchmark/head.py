"""Slot attention alone, against the published equations: time of a training step and a forward pass, memory."""

import argparse
import logging
from typing import Any

import torch
from torch import Tensor, nn

from sloter.paper import PaperSlotAttention
from sloter.slot_attention import SlotAttention
from studies.benchmark.timing import Action, peak_memory, seconds_each
from tools.machine import amp_dtype, autocast

logger = logging.getLogger(__name__)

SIZES = ((10, 1), (100, 1), (100, 5), (1000, 1))  # classes, slots per class
LARGE = (1000, 5, 64)  # classes, slots per class, pictures of the head whose memory is measured
PLACES, DIM, LAYERS, BATCH = 81, 64, 3, 8  # the paper's 9x9 grid and width
ROUNDS = {True: 10, False: 60}


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure a training step and a forward pass of each size and variant; returns rows of a table."""
    memory_of_large(run, device)
    rows = []
    for c, s in SIZES:
        torch.manual_seed(run.seed)
        values = torch.rand(BATCH, PLACES, DIM, device=device)
        keys_in = values + torch.randn_like(values)
        train: dict[str, Action] = {}
        infer: dict[str, Action] = {}
        for name, (module, amp) in variants(run, device, c, s).items():
            train[name] = training(module, keys_in, values, amp)
            infer[name] = inference(module, keys_in, values, amp)
        trained, inferred = (
            seconds_each(actions, rounds=ROUNDS[run.quick], title=f"head, {c}x{s}", device=device)
            for actions in (train, infer)
        )
        first = next(iter(trained))
        for name in trained:
            rows.append({
                "head": name, "classes x slots": f"{c}x{s}", "train, ms": 1000 * trained[name],
                "infer, ms": 1000 * inferred[name], "train, times faster": trained[first] / trained[name],
                "infer, times faster": inferred[first] / inferred[name],
            })  # fmt: skip
    return rows


def variants(
    run: argparse.Namespace, device: torch.device, c: int, s: int
) -> dict[str, tuple[nn.Module, torch.dtype | None]]:
    """The compared modules with their precisions, the published equations first."""
    fast = amp_dtype("auto", device)
    found: dict[str, tuple[nn.Module, torch.dtype | None]] = {
        "published equations": (PaperSlotAttention(c, s, DIM, to_k_layers=LAYERS), None)
    }
    for attention in ("paper", "qknorm"):
        found[attention] = (slot_attention(c, s, attention), None)
    if fast is not None:
        found["published equations, amp"] = (PaperSlotAttention(c, s, DIM, to_k_layers=LAYERS), fast)
        found["paper, amp"] = (slot_attention(c, s, "paper"), fast)
    if run.compile:
        compiled = slot_attention(c, s, "paper")
        compiled.compile(dynamic=False)
        found["paper, compiled"] = (compiled, None)
    return {name: (module.to(device), amp) for name, (module, amp) in found.items()}


def slot_attention(c: int, s: int, attention: str) -> SlotAttention:
    """Slot attention of a form, for c classes with s slots each."""
    return SlotAttention(c, s, DIM, to_k_layers=LAYERS, attention=attention, num_positions=PLACES)


def training(module: nn.Module, keys_in: Tensor, values: Tensor, amp: torch.dtype | None) -> Action:
    """A training step: forward and backward pass, with the gradient of the features, which a backbone needs."""
    keys_in, values = keys_in.clone().requires_grad_(), values.clone().requires_grad_()

    def step() -> None:
        with autocast(values.device, amp):
            evidence, attn, *_ = module(keys_in, values)
        (evidence.sum() + attn.mean() ** 2).backward()
        module.zero_grad(set_to_none=True)
        keys_in.grad = values.grad = None

    return step


def inference(module: nn.Module, keys_in: Tensor, values: Tensor, amp: torch.dtype | None) -> Action:
    """A forward pass without gradients."""

    @torch.no_grad()
    def step() -> None:
        with autocast(values.device, amp):
            module(keys_in, values)

    return step


def memory_of_large(run: argparse.Namespace, device: torch.device) -> None:
    """Print the memory of a step of the largest head; measured first, since the peak of a process never falls."""
    c, s, b = LARGE
    torch.manual_seed(run.seed)
    values = torch.rand(b, PLACES, DIM, device=device)
    step = training(slot_attention(c, s, "paper").to(device), values, values, None)
    before = peak_memory(device)
    step()
    gigabytes = (peak_memory(device) - before) / 2**30
    logger.warning("head: a training step of %d classes x %d slots on %d pictures takes %.2f GB, %.1f KB a slot and "
                   "picture", c, s, b, gigabytes, gigabytes * 2**20 / (b * c * s))  # fmt: skip

"""Memory of a training step of the slot model, against the linear classifier on the same backbone."""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from studies.benchmark.steps import Variant, model, training
from studies.benchmark.timing import peak_memory, wait_for
from tools import ToolError
from tools.console import progress
from tools.machine import amp_dtype

STEPS = 2  # the optimizer makes its state in the first


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure the peak of the memory over two training steps for each of ``--class_counts``; returns rows of a table.

    Each is measured in a process of its own, since the peak of a process never falls. For a CPU it is that of the whole
    process, which holds the libraries, too.
    """
    rows = []
    for c in progress(run.class_counts, "memory"):
        linear, slot = (peak_of_process(run, device, c, use_slot=name) for name in (False, True))
        rows.append({"memory of a training step": "peak", "classes": c, "linear, GB": linear / 2**30,
                     "slot, GB": slot / 2**30, "slot / linear": slot / linear})  # fmt: skip
    return rows


def peak_of_process(run: argparse.Namespace, device: torch.device, c: int, *, use_slot: bool) -> int:
    """Peak in bytes of a new process that does training steps of one model.

    Raises:
        ToolError: the system ended the process.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(peak_of_steps, run, device, c, use_slot).result()
        except BrokenProcessPool:
            kind = "slot model" if use_slot else "linear classifier"
            raise ToolError(f"the training step of the {kind} with {c} classes was ended by the system, probably "
                            "because the memory is full: reduce --class_counts or --batch_size") from None  # fmt: skip


def peak_of_steps(run: argparse.Namespace, device: torch.device, c: int, use_slot: bool) -> int:
    """Peak in bytes of this process over training steps of one model."""
    torch.set_num_threads(1 if device.type == "cpu" else torch.get_num_threads())
    variant = Variant("", channels_last=run.channels_last, amp=amp_dtype(run.amp, device))
    step = training(run, device, variant, model(run, device, variant, c, use_slot=use_slot), c)
    for _ in range(STEPS):
        step()
    wait_for(device)
    return peak_memory(device)

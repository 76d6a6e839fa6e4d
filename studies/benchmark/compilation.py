"""A slot model compiled by torch.compile against the same model as it is: training steps and forward passes."""

import argparse
import time
from typing import Any

import torch

from studies.benchmark.steps import ROUNDS, Variant, inference, model, training
from studies.benchmark.timing import clock_of, seconds_each, wait_for
from tools.machine import amp_dtype

CLASSES = 10


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure a step of training and of evaluation, compiled and not; returns rows of a table.

    The seconds of a step on a CPU are those of this process on its cores; those of the first step, which compiles, are
    of a clock, since other processes help to compile.
    """
    plain = Variant("plain", channels_last=run.channels_last, amp=amp_dtype(run.amp, device))
    rows = []
    for name, make in (("training", training), ("evaluation", inference)):
        actions = {
            kind: make(run, device, variant, model(run, device, variant, CLASSES, use_slot=run.use_slot), CLASSES)
            for kind, variant in (("plain", plain), ("compiled", plain._replace(compiled=True)))
        }
        start = time.perf_counter()
        actions["compiled"]()
        wait_for(device)
        first = time.perf_counter() - start
        seconds = seconds_each(actions, rounds=ROUNDS[run.quick], title=name, device=device, clock=clock_of(device))
        rows.append({
            "compile": name, "plain, s": seconds["plain"], "compiled, s": seconds["compiled"],
            "times plain": seconds["plain"] / seconds["compiled"], "first step, s": first,
        })  # fmt: skip
    return rows

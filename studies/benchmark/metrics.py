"""CPU seconds of each explanation metric for a picture, beside those of the forward passes that it takes."""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from args import metric_settings
from engine.explain.measure import measure as measure_maps
from engine.explain.measure import passes
from engine.explain.settings import METRIC_NAMES, MetricSettings
from engine.explain.slots import slot_claim
from engine.explain.subjects import BATCH, slot_subject
from studies.benchmark.evaluation import loop
from studies.benchmark.opened import opened
from studies.benchmark.timing import process_seconds
from tools.console import progress

PICTURES = {True: 4, False: 48}  # with --quick and without


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure the slot maps of validation pictures of ``--dataset`` by each metric alone; returns rows.

    A forward pass is that of a batch of the pictures that are explained at a time, with loading.
    """
    settings = MetricSettings(**metric_settings(run))
    with tempfile.TemporaryDirectory() as folder:
        trained, data = opened(run, device, Path(folder), PICTURES[run.quick])
        loader = trained.loader(data, batch_size=BATCH)
        forward = min(process_seconds(lambda: loop(trained, loader)) for _ in range(3)) / len(data)
        rows = []
        for name in progress(METRIC_NAMES, "metrics"):
            subject = slot_subject(
                trained, data, "attention", settings=settings, batch_size=run.batch_size, num_workers=0, explained=None
            )
            action = partial(
                measure_maps, subject, [name], num_classes=data.num_classes, boxes=data.boxes,
                claim=slot_claim(trained.model, "attention"), statistics=trained.statistics,
            )  # fmt: skip
            taken = process_seconds(action) / len(data)
            count = sum(passes([name], settings))
            rows.append({"metrics": name, "CPU s a picture": taken, "passes": count,
                         "of its passes": taken / count / forward})  # fmt: skip
    return rows

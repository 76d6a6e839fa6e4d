"""CPU time of the evaluation of a split by test.py, beside a loop that loads, predicts and takes the best class."""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dataset.loaders import DeviceLoader
from dataset.pictures import PictureDataset
from engine.classification import record_of
from engine.evaluate import evaluate
from engine.predictions import Predictions, save_predictions
from engine.trained_model import TrainedModel
from sloter.loss import ScouterLoss
from studies.benchmark.opened import opened
from studies.benchmark.timing import Action, peak_memory, process_seconds, seconds_each, wait_for
from tools.console import say

PICTURES = {True: 200, False: 5000}  # with --quick and without
ROUNDS = {True: 1, False: 3}


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Evaluate validation pictures of ``--dataset``, with workers the CPU seconds of this process; returns rows."""
    with tempfile.TemporaryDirectory() as folder:
        trained, data = opened(run, device, Path(folder), PICTURES[run.quick])
        loader = trained.loader(data, batch_size=run.batch_size, num_workers=run.num_workers)
        actions: dict[str, Action] = {
            "loop: load, forward, argmax": partial(loop, trained, loader),
            "evaluation": partial(predictions, trained, data, loader),
        }
        seconds = seconds_each(
            actions, rounds=ROUNDS[run.quick], title="evaluate", device=device, clock=time.process_time
        )
        before, found = peak_memory(device), predictions(trained, data, loader)
        tables = {
            "figures by class, intervals": lambda: record_of(found.logits, found.labels, data.class_names),
            "table of predictions": lambda: save_predictions(
                Path(folder, "predictions.csv"), found, [data.path(i) for i in range(len(data))], data.class_names
            ),
        }
        for name, action in tables.items():
            seconds[name] = process_seconds(action)
        grown = (peak_memory(device) - before) / 2**20
    bare = seconds["loop: load, forward, argmax"]
    say(f"evaluate: {len(data)} pictures, {grown:.0f} MB more after the first evaluation", several=True)
    return [{"evaluate": name, "CPU ms a picture": taken / len(data) * 1000, "of the loop": taken / bare}
            for name, taken in seconds.items()]  # fmt: skip


@torch.no_grad()
def loop(trained: TrainedModel, loader: DeviceLoader) -> int:
    """Number of right predictions, by a loop without anything else."""
    right = torch.zeros((), dtype=torch.long, device=trained.device)
    for batch in loader:
        right += (trained.model(batch.images).logits.argmax(1) == batch.labels).sum()
    wait_for(trained.device)
    return int(right)


def predictions(trained: TrainedModel, data: PictureDataset, loader: DeviceLoader) -> Predictions:
    """The predictions of an evaluation as test.py does it."""
    found, criterion = Predictions(), ScouterLoss(lambda_value=1.0, power=2)
    evaluate(trained.model, loader, criterion, device=trained.device, collect=found.add)
    return found.complete()

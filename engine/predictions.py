"""Predictions of every picture of a split: logits in the order of the pictures, and their table."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dataset.loaders import Batch
from tools.console import progress
from tools.distributed import gather
from tools.files import save_long_csv
from tools.machine import autocast

CHUNK = 1000  # pictures whose rows are in memory at once


class Predictions:
    """Collector of the predictions of all processes.

    Attributes, after :meth:`complete`:
        numbers: (n), of the pictures that could be decoded, in the order of the dataset.
        labels: (n), their classes.
        logits: (n, c).
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Any, Any, Any]] = []
        self.numbers = self.labels = self.logits = torch.empty(0)

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Add the logits (b, c) of a batch of this process."""
        # Copies: a tensor of a loading process keeps a file open as long as it is in use.
        numbers, labels = batch.numbers.numpy().copy(), batch.labels.cpu().numpy().copy()
        self._batches.append((numbers, labels, logits.cpu().float().numpy()))

    def complete(self) -> "Predictions":
        """Gather the predictions of all processes, which must all call it; returns itself."""
        parts, self._batches = gather(self._batches), []
        numbers, labels = (torch.from_numpy(np.concatenate([part[kind] for part in parts])) for kind in (0, 1))
        order = numbers.argsort()
        self.numbers, self.labels = numbers[order], labels[order]
        places, start = order.argsort().numpy(), 0
        logits = np.empty((len(numbers), parts[0][2].shape[1]), dtype=np.float32)
        for _, _, own in parts:  # straight to their places, since the logits of a large split take much memory
            logits[places[start : start + len(own)]] = own
            start += len(own)
        self.logits = torch.from_numpy(logits)
        return self


@torch.no_grad()
def predict(
    model: nn.Module, loader: Iterable[Batch], *, device: torch.device, amp: torch.dtype | None = None
) -> Predictions:
    """Predict every picture of a loader; returns the predictions of all processes."""
    model.eval()
    found = Predictions()
    for batch in progress(loader, "predict"):
        with autocast(device, amp):
            logits = model(batch.images).logits
        found.add(batch, logits)
    return found.complete()


def save_predictions(
    path: Path, found: Predictions, files: Sequence[str], names: Sequence[str], *, labelled: bool = True
) -> None:
    """Write a CSV with a row for each picture: file, true class, predicted class, probability of each class.

    Args:
        path: the file.
        found: the predictions.
        files: name of each picture of the dataset.
        names: name of each class.
        labelled: whether the true classes are known; if not, there is no column of them.
    """
    header = ["file", *(["true"] if labelled else []), "predicted", *(f"p({name})" for name in names)]
    save_long_csv(path, header, _rows(found, files, names, labelled), columns=("file", "predicted"))


def _rows(found: Predictions, files: Sequence[str], names: Sequence[str], labelled: bool) -> Iterator[list[str]]:
    """Rows of the table."""
    parts = (part.split(CHUNK) for part in (found.numbers, found.labels, found.logits))
    for numbers, labels, logits in zip(*parts, strict=True):
        for number, label, values in zip(
            numbers.tolist(), labels.tolist(), logits.double().softmax(1).tolist(), strict=True
        ):
            true = [names[label]] if labelled else []
            best = max(range(len(values)), key=values.__getitem__)
            yield [files[number], *true, names[best], *(f"{value:.6g}" for value in values)]

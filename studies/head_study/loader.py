"""Batches of the features of a split."""

from collections.abc import Iterator
from typing import Any

import torch

from dataset.loaders import Batch
from studies.head_study.features import Features


class FeatureLoader:
    """Batches of features, in the form that the training and evaluation loops read."""

    def __init__(self, data: Features, *, batch_size: int, shuffle: bool, seed: int, device: torch.device) -> None:
        self.data, self.batch_size, self.shuffle, self.device = data, batch_size, shuffle, device
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        # A set smaller than a batch is trained as one batch, as in train.py.
        return max(1, len(self.data) // self.batch_size) if self.shuffle else -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.data), generator=self.generator) if self.shuffle else None
        for step in range(len(self)):
            batch: Any = slice(step * self.batch_size, (step + 1) * self.batch_size)
            numbers = order[batch] if order is not None else torch.arange(len(self.data))[batch]
            maps = self.data.maps[numbers].to(self.device).float()  # (b, n, f)
            features = maps.transpose(1, 2).unflatten(2, self.data.grid)  # (b, f, h, w)
            yield Batch(features, self.data.labels[numbers].to(self.device), numbers)

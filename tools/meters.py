"""Means over samples that stay on the device until they are asked for, and count every sample once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tools.distributed import sum_over_processes


class SampleMeans:
    """Sums of named per-sample quantities, over the batches of this process and, at the end, over all processes."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = {name: torch.zeros((), dtype=dtype, device=device) for name in names}
        self.count = 0

    def add(self, sums: Mapping[str, Tensor], count: int) -> None:
        """Add sums over ``count`` samples, scalars, without waiting for the device."""
        self.count += count
        for name in self.sums:
            self.sums[name] += sums[name].detach()

    def local(self) -> dict[str, float]:
        """Means over the samples of this process so far, for the progress display."""
        return {name: float(value) / self.count for name, value in self.sums.items()}

    def compute(self) -> tuple[dict[str, float], int]:
        """Means over all samples of all processes, and their number; every process must call it."""
        values = list(self.sums.values())
        count = torch.full_like(values[0], self.count)
        *totals, samples = sum_over_processes(torch.stack([*values, count])).tolist()
        return {name: total / samples for name, total in zip(self.sums, totals, strict=True)}, round(samples)

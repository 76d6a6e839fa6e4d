"""Means over samples, each counted once, that stay on the device until they are read."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tools.distributed import is_main, sum_over_processes


class SampleMeans:
    """Sums of named per-sample quantities over the batches of this process and, in the end, of all processes."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.names = tuple(names)
        self.sums = torch.zeros(len(self.names), dtype=dtype, device=device)
        self.count = 0

    def add(self, sums: Mapping[str, Tensor], count: int) -> None:
        """Add scalar sums over ``count`` samples, without waiting for the device."""
        self.count += count
        self.sums += torch.stack([sums[name].detach().to(self.sums.dtype) for name in self.names])

    def restore(self, sums: Mapping[str, float], count: int) -> None:
        """Add sums over ``count`` samples of all processes; rank 0 alone does so, so that they count once."""
        if is_main():
            self.count += count
            self.sums += torch.tensor([sums[name] for name in self.names], dtype=self.sums.dtype).to(self.sums.device)

    def local(self) -> dict[str, float]:
        """Means over the samples of this process so far, for the progress display."""
        return dict(zip(self.names, (self.sums / self.count).tolist(), strict=True))

    def totals(self) -> tuple[dict[str, float], int]:
        """Sums over all samples of all processes, and the number of samples; every process must call it."""
        count = torch.full_like(self.sums[:1], self.count)
        *totals, samples = sum_over_processes(torch.cat([self.sums, count])).tolist()
        return dict(zip(self.names, totals, strict=True)), round(samples)

    def compute(self) -> tuple[dict[str, float], int]:
        """Means over all samples of all processes, and the number of samples; every process must call it."""
        totals, samples = self.totals()
        return {name: total / samples for name, total in totals.items()}, samples

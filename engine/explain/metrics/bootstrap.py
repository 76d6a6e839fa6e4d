"""Quartiles, and confidence intervals of means and medians over pictures."""

from collections.abc import Sequence

import torch


def bootstrap_interval(
    values: Sequence[float], *, resamples: int = 1000, seed: int = 0, level: float = 0.95, median: bool = False
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979) of the mean over pictures, or of the median."""
    sample = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    drawn = (sample[torch.randint(len(sample), (len(sample),), generator=generator)] for _ in range(resamples))
    found = torch.stack([own.quantile(0.5) if median else own.mean() for own in drawn])
    low, high = found.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return low, high


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile, interpolated linearly."""
    sample = torch.tensor(values, dtype=torch.float64)
    low, middle, high = sample.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return low, middle, high

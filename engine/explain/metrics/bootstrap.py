"""Confidence intervals of means over pictures."""

from collections.abc import Sequence

import torch


def bootstrap_interval(
    values: Sequence[float], *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979) of the mean over pictures."""
    sample = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack([
        sample[torch.randint(len(sample), (len(sample),), generator=generator)].mean() for _ in range(resamples)
    ])  # fmt: skip
    low, high = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return low, high

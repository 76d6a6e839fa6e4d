"""The least similar class of each class, by the backbone's features, where there is no WordNet."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tools.console import progress
from tools.distributed import gather


@torch.no_grad()
def least_similar_by_features(
    features: Callable[[Tensor], Tensor], loader: Iterable[Any], num_classes: int
) -> list[int]:  # fmt: skip
    """For each class, the class whose pictures are least like its own.

    The similarity of two classes is the mean cosine of the pooled features of a picture of one and one of the other.

    Args:
        features: pictures (b, ch, H, W) to a feature map (b, f, h, w).
        loader: batches with ``images`` and ``labels`` of the split.
        num_classes: c; a class without pictures is nobody's least similar one.
    """
    sums: dict[int, Tensor] = {}
    counts = torch.zeros(num_classes)
    for batch in progress(loader, "compare classes"):
        unit = functional.normalize(features(batch.images).float().mean((2, 3)), dim=1).double().cpu()  # (b, f)
        for label, vector in zip(batch.labels.tolist(), unit, strict=True):
            sums[label] = sums.get(label, torch.zeros_like(vector)) + vector
        counts += torch.bincount(batch.labels.cpu(), minlength=num_classes)
    parts = gather([(sums, counts)])
    counts = sum(part[1] for part in parts)
    means = torch.stack([
        sum(part[0][label] for part in parts if label in part[0]) / counts[label]
        if counts[label]
        else torch.zeros_like(next(iter(parts[0][0].values())))
        for label in range(num_classes)
    ])  # (c, f)  # fmt: skip
    similarity = means @ means.T  # (c, c)
    similarity[:, counts == 0] = float("inf")
    return similarity.fill_diagonal_(float("inf")).argmin(1).tolist()

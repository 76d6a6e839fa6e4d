"""Least similar class of each class, by the backbone's features; used where WordNet does not know the classes."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from dataset.loaders import Batch
from tools import ToolError
from tools.console import progress
from tools.distributed import gather


def check_several_classes(filled: int) -> None:
    """Raise if fewer than two classes have pictures, so that none can be the least similar one of another.

    Raises:
        ToolError: there are fewer.
    """
    if filled < 2:
        raise ToolError("the pictures are of one class, so that none can be compared with it: give the least similar "
                        "class of each with --lsc FILE, or pictures of more classes")  # fmt: skip


@torch.no_grad()
def least_similar_by_features(
    features: Callable[[Tensor], Tensor], loader: Iterable[Batch], num_classes: int
) -> list[int]:  # fmt: skip
    """For each class, the class whose pictures are least similar to its own.

    The similarity of two classes is the mean cosine similarity of the pooled features of a picture of each.

    Args:
        features: maps pictures (b, ch, H, W) to a feature map (b, f, h, w).
        loader: batches of the split.
        num_classes: c; a class without pictures is never the least similar one.

    Raises:
        ToolError: see :func:`check_several_classes`.
    """
    sums: dict[int, Tensor] = {}
    counts = torch.zeros(num_classes)
    for batch in progress(loader, "compare classes"):
        unit = functional.normalize(features(batch.images).float().mean((2, 3)), dim=1).cpu().double()  # (b, f)
        for label, vector in zip(batch.labels.tolist(), unit, strict=True):
            sums[label] = sums.get(label, torch.zeros_like(vector)) + vector
        counts += torch.bincount(batch.labels.cpu(), minlength=num_classes)
    parts = gather([(sums, counts)])
    counts = sum(part[1] for part in parts)
    check_several_classes(int((counts > 0).sum()))
    nothing = torch.zeros_like(next(vector for part in parts for vector in part[0].values()))  # (f)
    means = torch.stack([
        sum(part[0][label] for part in parts if label in part[0]) / counts[label] if counts[label] else nothing
        for label in range(num_classes)
    ])  # (c, f)  # fmt: skip
    similarity = means @ means.T  # (c, c)
    similarity[:, counts == 0] = float("inf")
    return similarity.fill_diagonal_(float("inf")).argmin(1).tolist()

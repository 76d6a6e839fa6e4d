"""Places of a map ranked against the object: relevance rank accuracy (Arras et al. 2022, section 3.1) and AUC.

Neither can tell a map of the class from a map of anything salient, nor whether the model uses the whole object: a map
of the one part that decides is punished for the rest of the box, and the corners of a box are no object.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.explain.metrics.batch import MapBatch
from engine.explain.metrics.on_object import inside_boxes


def rank_accuracy(values: Tensor, mask: Tensor) -> Tensor:
    """Share of the m highest of values (n) that are in a mask (n) of m places; of equal values the mean of all orders.

    0 for an empty mask.
    """
    count = int(mask.sum())
    if not count:
        return values.new_zeros(())
    lowest = values.topk(count).values[-1]  # the lowest of the m highest
    above, equal = values > lowest, values == lowest
    share = (count - above.sum()) / equal.sum()  # of the equal ones, as many are among the m highest
    return ((above & mask).sum() + share * (equal & mask).sum()) / count


def auc(values: Tensor, mask: Tensor) -> Tensor:
    """Area under the ROC curve of values (n) for a mask (n): how often a place inside is above one outside.

    Equal values count half; .5 where all places are inside, or none.
    """
    inside = int(mask.sum())
    outside = len(mask) - inside
    if not inside or not outside:
        return values.new_tensor(0.5)
    _, order, counts = values.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[order]  # from 1; equal values have their mean rank
    total = float(ranks[mask].cpu().double().sum()) - inside * (inside + 1) / 2
    return values.new_tensor(total / (inside * outside))


def against_boxes(maps: Tensor, boxes: Sequence[Tensor]) -> dict[str, Tensor]:
    """Measure how the highest places of maps (b, H, W) lie in boxes, see :func:`inside_boxes`.

    Returns:
        (b) each, more is better: ``rank_accuracy`` and ``auc``; for a constant map the boxes' share of the picture,
        and .5.
    """
    masks = [inside_boxes(own, maps).any(0).flatten() for own in boxes]
    pairs = list(zip(maps.flatten(1), masks, strict=True))
    return {"rank_accuracy": torch.stack([rank_accuracy(*pair) for pair in pairs]),
            "auc": torch.stack([auc(*pair) for pair in pairs])}  # fmt: skip


def rank_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``rank_accuracy`` and ``auc`` of a batch; any value for a picture without boxes."""
    nowhere = batch.images.new_zeros(1, 4)
    return against_boxes(batch.large, [nowhere if boxes is None else boxes for boxes in batch.boxes])

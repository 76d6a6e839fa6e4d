"""Share of a map on the object: precision (section 4.1 of the paper), energy, pointing game (Zhang et al. 2018).

They cannot tell a map of the class from a map of anything salient, nor whether the model uses the object.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.explain.metrics.batch import MapBatch


def inside_boxes(boxes: Tensor, maps: Tensor) -> Tensor:
    """Whether the centre of each pixel is in each box, (m, H, W) bool.

    Args:
        boxes: (m, 4) left, top, right, bottom in pixels of the resized picture.
        maps: (b, H, W), of which only the size and the device are used.
    """
    _, height, width = maps.shape
    rows = torch.arange(height, device=maps.device) + 0.5  # centres of the pixels
    columns = torch.arange(width, device=maps.device) + 0.5
    left, top, right, bottom = boxes.to(maps).T[:, :, None]  # (m, 1) each
    return ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None]


def on_object(maps: Tensor, boxes: Sequence[Tensor]) -> dict[str, Tensor]:
    """Measure how much of each map lies on the object.

    Args:
        maps: (b, H, W) at the size of the picture; negative values count as zero.
        boxes: for each picture (m, 4), m at least 1: left, top, right, bottom in pixels of the resized picture.

    Returns:
        (b) each: ``precision``, the share of the map's sum in the box that holds most of it; ``energy``, the share in
        all boxes together; ``pointing``, 1 where the highest pixel is in a box. All are 0 for a map of zeros.
    """
    maps = maps.clamp_min(0)
    metrics: dict[str, list[Tensor]] = {"precision": [], "pointing": [], "energy": []}
    for picture, own in zip(maps, boxes, strict=True):
        inside = inside_boxes(own, maps)  # (m, H, W)
        mass = picture.sum().clamp_min(torch.finfo(maps.dtype).tiny)
        union = inside.any(0)  # (H, W)
        metrics["precision"].append((picture * inside).sum((1, 2)).max() / mass)
        metrics["energy"].append((picture * union).sum() / mass)
        highest = union.flatten()[picture.argmax()] & (picture.max() > 0)
        metrics["pointing"].append(highest.to(maps.dtype))
    return {name: torch.stack(values) for name, values in metrics.items()}


def on_object_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``precision``, ``pointing`` and ``energy`` of a batch; 0 for a picture without boxes."""
    nowhere = batch.images.new_zeros(1, 4)
    return on_object(batch.large, [nowhere if boxes is None else boxes for boxes in batch.boxes])

"""Area of an explanation (section 4.1 of the paper).

It cannot tell whether the map is where it should be, nor whether it depends on its class.
"""

import torch
from torch import Tensor

from engine.explain.metrics.batch import MapBatch


def min_max(maps: Tensor) -> Tensor:
    """Scale maps (b, ...) to [0, 1], over all values of a sample together; a constant sample becomes 0."""
    flat = maps.flatten(1)
    low = flat.amin(1).view(-1, *[1] * (maps.ndim - 1))
    high = flat.amax(1).view_as(low)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def explanation_area(maps: Tensor, labels: Tensor, *, negative: bool, explained: Tensor | None = None) -> Tensor:
    """Area of the explanations of a batch: mean over the grid of the explained class's map.

    Maps are scaled jointly over all classes of a picture. A positive model explains why the picture is of the true
    class, a negative one why it is not of another class, in the paper the least similar one.

    Args:
        maps: (b, c, h, w), not negative.
        labels: (b), the true classes.
        negative: whether the model is negative.
        explained: (c), for a negative model the least similar class of each; None takes the mean over all wrong
            classes.

    Returns:
        (b), each in [0, 1].
    """
    areas = min_max(maps).mean((2, 3))  # (b, c)
    classes = labels if explained is None or not negative else explained[labels]  # (b)
    chosen = areas.gather(1, classes[:, None]).squeeze(1)  # (b)
    if negative and explained is None:
        return (areas.sum(1) - chosen) / max(areas.shape[1] - 1, 1)
    return chosen


def area(batch: MapBatch) -> dict[str, Tensor]:
    """``area`` of a batch; smaller is more specific, wherever on the picture the map lies."""
    return {"area": batch.scaled.mean((1, 2))}

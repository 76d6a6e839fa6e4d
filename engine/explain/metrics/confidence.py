"""Average drop and increase in confidence (Chattopadhay et al., WACV 2018, section 5.1).

The picture is multiplied by its map, and the probability of the class compared with that of the whole picture. The
metric cannot tell a map of the object from a map of everything: the whole picture has no drop. The darkened picture is
none that the model knows, so that a drop may come from the darkening alone.
"""

import torch
from torch import Tensor

from engine.explain.interface import Logits
from engine.explain.metrics.batch import MapBatch


@torch.no_grad()
def confidence_change(
    logits: Logits, images: Tensor, maps: Tensor, classes: Tensor, *, batch_size: int = 64
) -> dict[str, Tensor]:
    """Change of a probability from p to p' where the picture is multiplied by its map.

    Args:
        logits: the model.
        images: (b, ch, H, W), normalised, so that zero is the mean colour.
        maps: (b, H, W), not negative; scaled here so that the highest value of each is 1.
        classes: (b).
        batch_size: pictures in one forward pass.

    Returns:
        (b) each: ``average_drop``, max(0, p - p') / p, less is better; ``increase``, 1 where p' > p, more is better.
    """
    highest = maps.flatten(1).amax(1).view(-1, 1, 1).clamp_min(torch.finfo(maps.dtype).tiny)
    masked = images * (maps / highest)[:, None]  # (b, ch, H, W)

    def probability(pictures: Tensor) -> Tensor:
        found = torch.cat([logits(part).float().softmax(1) for part in pictures.split(batch_size)])  # (b, c)
        return found.gather(1, classes[:, None])[:, 0]  # (b)

    whole, shown = probability(images), probability(masked)
    drop = (whole - shown).clamp_min(0) / whole.clamp_min(torch.finfo(whole.dtype).tiny)
    return {"average_drop": drop, "increase": (shown > whole).to(drop.dtype)}


def confidence_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``average_drop`` and ``increase`` of a batch."""
    return confidence_change(batch.logits, batch.images, batch.large, batch.classes, batch_size=batch.batch_size)

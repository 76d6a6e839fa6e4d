"""Input of the explanation metrics: a batch of pictures and their maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn import functional as F

from engine.explain.interface import Claim, Explainer, Logits
from engine.explain.settings import MetricSettings


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsample maps (b, h, w) to (b, H, W), bilinearly."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


@dataclass(frozen=True)
class MapBatch:
    """Batch of pictures and their maps by one explainer.

    Attributes:
        explainer: source of the maps.
        logits: the model.
        images: (b, ch, H, W), normalised, so that zero is the mean colour.
        labels: (b), the true classes.
        classes: (b), the explained classes.
        explains_others: whether the explained classes differ from the true ones, as for a negative model.
        maps: (b, h, w), of the explained classes, not negative.
        raw: (b, h, w), of the explained classes as the explainer gives them.
        scaled: (b, h, w), the maps scaled to [0, 1], as :mod:`engine.explain.metrics.area` needs them.
        boxes: for each picture (m, 4) left, top, right, bottom in pixels of the resized picture, or None.
        settings: parameters of all metrics.
        batch_size: pictures in one forward pass.
        claim: sums that the maps claim to have; None if they claim none.
        statistics: ``mean`` and ``std`` of the normalisation; None if they are unknown.
    """

    explainer: Explainer
    logits: Logits
    images: Tensor
    labels: Tensor
    classes: Tensor
    explains_others: bool
    maps: Tensor
    raw: Tensor
    scaled: Tensor
    boxes: Sequence[Tensor | None]
    settings: MetricSettings
    batch_size: int
    claim: Claim | None = None
    statistics: Mapping[str, Sequence[float]] | None = None

    @cached_property
    def large(self) -> Tensor:
        """Maps (b, H, W) at the size of the pictures."""
        return upsample(self.maps, (self.images.shape[-2], self.images.shape[-1]))

"""What an explanation metric gets: pictures with their maps, kept together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn import functional as F

from engine.explain.interface import Explainer, Logits
from engine.explain.settings import MetricSettings


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(b, h, w) maps to (b, H, W), bilinear."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


@dataclass(frozen=True)
class MapBatch:
    """A batch of pictures and the maps of one explainer.

    Attributes:
        explainer: what made the maps.
        logits: the model.
        images: (b, ch, H, W), normalised, so that zero is the mean colour.
        labels: (b), the true classes.
        classes: (b), the explained classes.
        explains_others: whether these are other classes than the true ones, as for a negative model.
        maps: (b, h, w), of the explained classes, not negative.
        scaled: (b, h, w), the same in [0, 1], scaled as :mod:`engine.explain.metrics.area` needs them.
        boxes: for each picture (m, 4) left, top, right, bottom in pixels of the resized picture, or None.
        settings: parameters of all metrics.
        batch_size: pictures of one forward.
    """

    explainer: Explainer
    logits: Logits
    images: Tensor
    labels: Tensor
    classes: Tensor
    explains_others: bool
    maps: Tensor
    scaled: Tensor
    boxes: Sequence[Tensor | None]
    settings: MetricSettings
    batch_size: int

    @cached_property
    def large(self) -> Tensor:
        """(b, H, W), the maps at the size of the pictures."""
        return upsample(self.maps, (self.images.shape[-2], self.images.shape[-1]))

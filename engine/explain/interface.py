"""Interfaces of models, explainers and batches for everything that draws or measures maps."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Logits = Callable[[Tensor], Tensor]
"""(b, ch, H, W) normalised pictures -> (b, c)."""
Explainer = Callable[[Tensor, Tensor], Tensor]
"""(images (b, ch, H, W) normalised, targets (b, t)) -> maps (b, t, h, w): t classes at once for each picture."""

Claim = Callable[[Tensor, Tensor], Tensor]
"""(images (b, ch, H, W) normalised, classes (b)) -> (b), what the maps of the classes claim to sum to."""


class PictureBatch(Protocol):
    """Batch of which only the pictures are used."""

    @property
    def images(self) -> Tensor:
        """(b, ch, H, W), normalised."""

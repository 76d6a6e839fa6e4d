"""Explainers and models, as everything that draws or measures maps sees them."""

from collections.abc import Callable

from torch import Tensor

Logits = Callable[[Tensor], Tensor]
"""(b, ch, H, W) normalised pictures -> (b, c)."""
Explainer = Callable[[Tensor, Tensor], Tensor]
"""(images (b, ch, H, W) normalised, targets (b, t)) -> maps (b, t, h, w): t classes at once for each picture."""

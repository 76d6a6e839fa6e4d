"""Integrated gradients (Sundararajan et al., ICML 2017, section 3), by captum, on the pixels."""

from captum.attr import IntegratedGradients
from torch import Tensor

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import Explainer, SplitModel, each_pair


def build_integrated_gradients(model: SplitModel, options: MethodSettings) -> Explainer:
    """Integrated gradients, summed over the picture's channels: (b, t, H, W)."""
    method = IntegratedGradients(model)

    def attribute(pictures: Tensor, classes: Tensor) -> Tensor:
        size = max(options.batch_size, len(pictures))
        attribution = method.attribute(pictures, target=classes, n_steps=options.ig_steps, internal_batch_size=size)
        return attribution.sum(1)  # (p, H, W)

    return lambda images, targets: each_pair(attribute, images, targets, options.batch_size)

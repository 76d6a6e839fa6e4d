"""Integrated gradients from the mean picture, by captum (Sundararajan et al., ICML 2017, section 3)."""

from captum.attr import IntegratedGradients
from torch import Tensor

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, each_pair
from engine.explain.interface import Explainer


def build_integrated_gradients(model: SplitModel, options: MethodSettings) -> Explainer:
    """Build integrated gradients: maps (b, t, H, W), summed over the picture's channels."""
    method = IntegratedGradients(model)

    def attribute(pictures: Tensor, classes: Tensor) -> Tensor:
        size = max(options.batch_size, len(pictures))
        attribution = method.attribute(pictures, target=classes, n_steps=options.ig_steps, internal_batch_size=size)
        return attribution.sum(1)  # (p, H, W)

    return lambda images, targets: each_pair(attribute, images, targets, options.batch_size)

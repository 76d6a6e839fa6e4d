"""Grad-CAM++ (Chattopadhay et al., WACV 2018, section 3, eq. 19) and Smooth Grad-CAM++ (Omeiza et al., 2019).

Not taken from torchcam, whose version 0.5 gives other maps under these names: the weights of its ``GradCAMpp`` are sums
of cubed gradients, and its ``SmoothGradCAMpp`` weights the features of the last noisy picture.
"""

import torch
from torch import Tensor

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, forward_from_leaf
from engine.explain.interface import Explainer


def channel_weights(grad: Tensor, grad_2: Tensor, grad_3: Tensor, features: Tensor) -> Tensor:
    """Channel weights (b, f): sums of the positive gradients, weighted by the coefficients alpha of eq. 19.

    ``alpha = grad_2 / (2 grad_2 + sum(features) grad_3)``. Numerator and denominator are divided by ``grad_2``, so that
    the small gradients of a large map need no epsilon; alpha is 0 where the gradient is 0.

    Args:
        grad: (b, f, h, w), the first derivatives, or their mean over noisy pictures.
        grad_2: the same for their squares.
        grad_3: the same for their cubes.
        features: (b, f, h, w).
    """
    total = features.sum((2, 3), keepdim=True)  # (b, f, 1, 1)
    ratio = torch.where(grad_2 > 0, grad_3 / grad_2, 0)
    denominator = 2 + total * ratio
    alpha = torch.where((grad_2 > 0) & (denominator != 0), 1 / denominator, 0)
    return (alpha * grad.relu()).sum((2, 3))  # (b, f)


def _weighted(weights: Tensor, features: Tensor) -> Tensor:
    return torch.einsum("bf,bfhw->bhw", weights, features).relu()


def _gradients(model: SplitModel, images: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Features of the layer and gradients of the logits of each column of the targets, each (b, f, h, w)."""
    features, logits = forward_from_leaf(model, images)
    sums = logits.gather(1, targets).sum(0)  # (t)
    return features.detach(), [torch.autograd.grad(logit, features, retain_graph=True)[0] for logit in sums]


def build_gradcampp(model: SplitModel) -> Explainer:
    """Build Grad-CAM++, clipped at zero as in the paper."""

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        features, gradients = _gradients(model, images, targets)
        maps = [_weighted(channel_weights(g, g**2, g**3, features), features) for g in gradients]
        return torch.stack(maps, 1)  # (b, t, h, w)

    return explain


def build_smoothgradcampp(model: SplitModel, options: MethodSettings, seed: int) -> Explainer:
    """Build Smooth Grad-CAM++: derivatives averaged over noisy pictures, features of the clean picture.

    The numerator of alpha is the second derivative, as in Grad-CAM++ and in torchcam, but not in the paper.
    """

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        features, _ = _gradients(model, images, targets[:, :0])
        sums = [[torch.zeros_like(features) for _ in range(3)] for _ in range(targets.shape[1])]
        for _ in range(options.smooth_samples):
            # The same noise for all pictures, so that a map does not depend on the batch.
            noise = torch.randn(images.shape[1:], generator=generator).to(images) * options.smooth_std
            for powers, gradient in zip(sums, _gradients(model, images + noise, targets)[1], strict=True):
                for exponent, power in enumerate(powers, 1):
                    power += gradient**exponent / options.smooth_samples
        maps = [_weighted(channel_weights(g, g2, g3, features), features) for g, g2, g3 in sums]
        return torch.stack(maps, 1)  # (b, t, h, w)

    return explain

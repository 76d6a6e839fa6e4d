"""Grad-CAM++ (Chattopadhay et al., WACV 2018, section 3, eq. 19) and Smooth Grad-CAM++ (Omeiza et al., 2019).

Written here since torchcam 0.5 gives other maps under these names: its ``GradCAMpp`` divides a copy, so that its
weights are sums of cubed gradients, and its ``SmoothGradCAMpp`` weighs the features of the last noisy picture.
"""

import torch
from torch import Tensor

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import Explainer, SplitModel, forward_from_leaf


def channel_weights(grad: Tensor, grad_2: Tensor, grad_3: Tensor, features: Tensor) -> Tensor:
    """(b, f): the positive gradients, weighted by the coefficients alpha of eq. 19.

    ``alpha = grad_2 / (2 grad_2 + sum(features) grad_3)``, here divided by ``grad_2`` above and below, so that the
    small gradients of a large map need no epsilon; 0 where there is no gradient.

    Args:
        grad: (b, f, h, w), the first derivatives.
        grad_2: their squares, or the mean of squares.
        grad_3: their cubes, or the mean of cubes.
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
    """The layer's features and, for each column of the targets, the gradient of those logits, all (b, f, h, w)."""
    features, logits = forward_from_leaf(model, images)
    scores = logits.gather(1, targets).sum(0)  # (t)
    return features.detach(), [torch.autograd.grad(score, features, retain_graph=True)[0] for score in scores]


def build_gradcampp(model: SplitModel) -> Explainer:
    """Grad-CAM++, cut at zero as in the paper."""

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        features, gradients = _gradients(model, images, targets)
        maps = [_weighted(channel_weights(g, g**2, g**3, features), features) for g in gradients]
        return torch.stack(maps, 1)  # (b, t, h, w)

    return explain


def build_smoothgradcampp(model: SplitModel, options: MethodSettings, seed: int) -> Explainer:
    """Smooth Grad-CAM++: derivatives averaged over noisy pictures, features of the clean one.

    As in torchcam, and unlike in the paper, the numerator of alpha is the second derivative, as in Grad-CAM++.
    """

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        features, _ = _gradients(model, images, targets[:, :0])
        sums = [[torch.zeros_like(features) for _ in range(3)] for _ in range(targets.shape[1])]
        for _ in range(options.smooth_samples):
            # The same noise for each picture, whatever its batch.
            noise = torch.randn(images.shape[1:], generator=generator).to(images) * options.smooth_std
            for powers, gradient in zip(sums, _gradients(model, images + noise, targets)[1], strict=True):
                for exponent, power in enumerate(powers, 1):
                    power += gradient**exponent / options.smooth_samples
        maps = [_weighted(channel_weights(g, g2, g3, features), features) for g, g2, g3 in sums]
        return torch.stack(maps, 1)  # (b, t, h, w)

    return explain

"""Grad-CAM++ (Chattopadhay et al., WACV 2018, section 3, eq. 19) and Smooth Grad-CAM++ (Omeiza et al., 2019).

Not taken from torchcam, whose version 0.5 gives other maps under these names: the weights of its ``GradCAMpp`` are sums
of cubed gradients, and its ``SmoothGradCAMpp`` weights the features of the last noisy picture.
"""

import torch
from torch import Tensor

from engine.explain.attribution.gradients import layer_gradients, weighted_sum
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, forward_from_leaf
from engine.explain.interface import Explainer

MAX_SUMS = 2**26  # numbers of the sums of Smooth Grad-CAM++ that are in memory at once, 256 MiB


def channel_weights(grad: Tensor, grad_2: Tensor, grad_3: Tensor, features: Tensor) -> Tensor:
    """Channel weights (..., f): sums of the positive gradients, weighted by the coefficients alpha of eq. 19.

    ``alpha = grad_2 / (2 grad_2 + sum(features) grad_3)``. Numerator and denominator are divided by ``grad_2``, so that
    the small gradients of a large map need no epsilon; alpha is 0 where the gradient is 0.

    Args:
        grad: (..., f, h, w), the first derivatives, or their mean over noisy pictures.
        grad_2: the same for their squares.
        grad_3: the same for their cubes.
        features: (b, f, h, w).
    """
    total = features.sum((2, 3), keepdim=True)  # (b, f, 1, 1)
    ratio = torch.where(grad_2 > 0, grad_3 / grad_2, 0)
    denominator = 2 + total * ratio
    alpha = torch.where((grad_2 > 0) & (denominator != 0), 1 / denominator, 0)
    return (alpha * grad.relu()).sum((-2, -1))  # (..., f)


def plain_weights(grad: Tensor, features: Tensor) -> Tensor:
    """Channel weights (t, b, f) of Grad-CAM++: :func:`channel_weights` of one gradient, its square and its cube.

    There ``grad_3 / grad_2`` is the gradient itself, so that the powers need not be computed.

    Args:
        grad: (t, b, f, h, w).
        features: (b, f, h, w).
    """
    positive = grad.relu()
    denominator = torch.addcmul(positive.new_tensor(2.0), features.sum((2, 3), keepdim=True), positive)
    return torch.where(denominator != 0, positive / denominator, 0).sum((3, 4))


def build_gradcampp(model: SplitModel) -> Explainer:
    """Build Grad-CAM++, clipped at zero as in the paper."""

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        features, gradients = layer_gradients(model, images, targets)
        maps = [weighted_sum(plain_weights(part, features), features) for part in gradients]  # (t, b, h, w)
        return torch.cat(maps).relu().transpose(0, 1)  # (b, t, h, w)

    return explain


def build_smoothgradcampp(model: SplitModel, options: MethodSettings, seed: int) -> Explainer:
    """Build Smooth Grad-CAM++: derivatives averaged over noisy pictures, features of the clean picture.

    The numerator of alpha is the second derivative, as in Grad-CAM++ and in torchcam, but not in the paper.
    """

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        features = forward_from_leaf(model, images)[0].detach()
        at_once = max(1, MAX_SUMS // (3 * features.numel()))
        return torch.cat([explain_part(images, part, features) for part in targets.split(at_once, 1)], 1)

    def explain_part(images: Tensor, targets: Tensor, features: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        sums: list[list[Tensor]] = []  # for each part of the gradients, of three powers
        for _ in range(options.smooth_samples):
            # The same noise for all pictures, so that a map does not depend on the batch.
            noise = torch.randn(images.shape[1:], generator=generator).to(images) * options.smooth_std
            for number, gradient in enumerate(layer_gradients(model, images + noise, targets)[1]):
                if number == len(sums):
                    sums.append([torch.zeros_like(gradient) for _ in range(3)])
                square = gradient * gradient
                for power, value in zip(sums[number], (gradient, square, square * gradient), strict=True):
                    power.add_(value, alpha=1 / options.smooth_samples)
        maps = [weighted_sum(channel_weights(g, g2, g3, features), features) for g, g2, g3 in sums]  # (t, b, h, w)
        return torch.cat(maps).relu().transpose(0, 1)  # (b, t, h, w)

    return explain

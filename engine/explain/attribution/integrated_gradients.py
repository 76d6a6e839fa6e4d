"""Integrated gradients from the mean picture (Sundararajan et al., ICML 2017, section 3).

The maps equal those of captum's ``IntegratedGradients``, but one forward pass of a point of the integral serves all
classes.
"""

import numpy as np
import torch
from torch import Tensor

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer


def build_integrated_gradients(model: SplitModel, options: MethodSettings) -> Explainer:
    """Build integrated gradients: maps (b, t, H, W), summed over the picture's channels."""
    places, weights = np.polynomial.legendre.leggauss(options.ig_steps)  # Gauss-Legendre quadrature on [-1, 1]
    step_sizes, alphas = torch.from_numpy(weights / 2), torch.from_numpy((1 + places) / 2)  # on [0, 1]

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        maps = images.new_zeros(*targets.shape, *images.shape[2:])  # (b, t, H, W)
        points = max(1, options.batch_size // len(images))
        for sizes, shares in zip(step_sizes.split(points), alphas.split(points), strict=True):
            scaled = (shares.to(images).view(-1, 1, 1, 1, 1) * images).flatten(0, 1).requires_grad_()  # (m * b, ...)
            logits = model(scaled).unflatten(0, (len(shares), -1))  # (m, b, c)
            for number, column in enumerate(targets.T):
                chosen = logits.gather(2, column.expand(len(shares), -1)[..., None]).sum()
                (gradient,) = torch.autograd.grad(chosen, scaled, retain_graph=number + 1 < targets.shape[1])
                weighted = torch.einsum("m,mbchw->bchw", sizes.to(images), gradient.unflatten(0, (len(shares), -1)))
                maps[:, number] += (weighted * images).sum(1)
        return maps

    return explain

"""Cost of a classifier: parameters and multiply-adds of its backbone and its head."""

from functools import partial

import torch

from sloter.backbone import FeatureModel, body_parameters, grid_features
from tools.cost import cost_table


def cost_of(model: FeatureModel, image: torch.Tensor) -> str:
    """Table of the parameters and multiply-adds of a model in evaluation mode, for a picture (1, ch, H, W)."""
    body = {f"backbone.{name}" for name in body_parameters(model.backbone)}
    return cost_table(model, body, partial(grid_features, model.backbone), image)

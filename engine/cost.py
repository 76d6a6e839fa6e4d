"""What a classifier costs: parameters, and multiply-adds counted by torch while it runs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sloter.backbone import FeatureModel, body_parameters, grid_features


def multiply_adds(function: Callable[..., Any], *inputs: Any) -> int:
    """Number of multiply-adds of a call: half of the floating-point operations that torch counts."""
    with FlopCounterMode(display=False) as counter:
        function(*inputs)
    return counter.get_total_flops() // 2


def parameters(module: nn.Module, names: set[str] | None = None) -> tuple[int, int]:
    """Numbers of trainable and of all parameters of a module, or only of those in ``names``."""
    chosen = [p for name, p in module.named_parameters() if names is None or name in names]
    return sum(p.numel() for p in chosen if p.requires_grad), sum(p.numel() for p in chosen)


def cost_table(model: nn.Module, body: set[str], features: Callable[[torch.Tensor], Any], image: torch.Tensor) -> str:
    """Text table of the parameters and multiply-adds of the backbone, the head and the whole model.

    Args:
        model: in evaluation mode.
        body: names of the backbone's parameters in the model.
        features: the part of the model that computes the feature map.
        image: (1, ch, H, W).
    """
    whole, part = parameters(model), parameters(model, body)
    macs, part_macs = multiply_adds(model, image), multiply_adds(features, image)
    rows = {
        "backbone": (*part, part_macs),
        "head": (whole[0] - part[0], whole[1] - part[1], macs - part_macs),
        "whole": (*whole, macs),
    }
    lines = [f"{'':10}{'trainable':>14}{'parameters':>14}{'multiply-adds':>18}"]
    lines += [f"{name:10}{row[0]:14,}{row[1]:14,}{row[2]:18,}" for name, row in rows.items()]
    return "\n".join(lines)


def cost_of(model: FeatureModel, image: torch.Tensor) -> str:
    """Table of the parameters and multiply-adds of a model in evaluation mode, for a picture (1, ch, H, W)."""
    body = {f"backbone.{name}" for name in body_parameters(model.backbone)}
    return cost_table(model, body, partial(grid_features, model.backbone), image)

"""Stages of a timm model: where each one ends, how to cut the model after one, which parameters to freeze.

Stages 1 to 4 are numbered by the resolution of their output (strides 4, 8, 16 and 32), whatever the family calls them;
in token models, which have one resolution, they are quarters of the blocks.
"""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor

from sloter import ModelError

# What timm's models raise for pictures or calls that they do not support.
UNSUPPORTED = (RuntimeError, AssertionError, ValueError, AttributeError, TypeError, LookupError, ArithmeticError)
TimmModel = Any  # an nn.Module with methods and attributes that timm's models share but nn.Module does not declare


def _feature_info(backbone: TimmModel) -> list[dict[str, Any]]:
    info = getattr(backbone, "feature_info", None)
    if not info or not hasattr(backbone, "prune_intermediate_layers"):
        raise ModelError(f"timm gives no stages for {type(backbone).__name__}: choose another --model")
    return list(info) if isinstance(info, list) else info.get_dicts()


def stage_index(backbone: TimmModel, stage: int) -> int:
    """Index in timm's ``feature_info`` of the entry at which a stage (1 to 4) ends.

    Raises:
        ModelError: the model has no such stage, or timm does not define it.
    """
    reductions = [entry["reduction"] for entry in _feature_info(backbone)]
    if len(set(reductions)) == 1:
        ends = {number: len(reductions) * number // 4 - 1 for number in (1, 2, 3, 4)}
    else:
        ends = {(r // 4).bit_length(): i for i, r in enumerate(reductions) if r in (4, 8, 16, 32)}
    if not ends:
        raise ModelError(f"timm gives {type(backbone).__name__} no stages of strides 4, 8, 16 or 32: leave --out_stage "
                         "and --freeze_layers out (--freeze_layers 0)")  # fmt: skip
    if stage not in ends:
        valid = ", ".join(map(str, ends))
        raise ModelError(f"there is no stage {stage} in {type(backbone).__name__}: choose one of {valid}")
    return ends[stage]


def cut(backbone: TimmModel, out_stage: int | None) -> int | None:
    """Remove, in place, the layers that the feature map does not need, since they would get no gradient.

    Args:
        backbone: a whole timm model.
        out_stage: the last stage to keep, 1 to 4; None keeps all of them.

    Returns:
        The entry of ``feature_info`` at which the model ends now; None for a whole model.

    Raises:
        ModelError: the model has no such stage, or cannot end after it.
    """
    if out_stage is not None:
        index = stage_index(backbone, out_stage)
        try:
            backbone.prune_intermediate_layers([index], prune_head=True)
        except UNSUPPORTED as error:
            raise ModelError(f"{type(backbone).__name__} cannot end after a stage: leave --out_stage out") from error
        return index
    stages = _feature_info(backbone)
    if not backbone.num_classes and stages[-1]["num_chs"] == backbone.num_features:
        # Families such as EfficientNet end in a convolution beyond the last stage, which pruning would remove.
        backbone.prune_intermediate_layers(1, prune_head=True)
    return None


def freeze_unused(backbone: TimmModel, image: Tensor, features_of: Callable[[TimmModel, Tensor], Tensor]) -> None:
    """Freeze parameters that the features do not depend on, such as a layer after the pooling that pruning keeps.

    Args:
        backbone: a timm model without classifier.
        image: any picture (1, ch, H, W); nothing is frozen if the backbone cannot take its size.
        features_of: computes the features of pictures.
    """
    whole = getattr(backbone, "grid_call", None) is None
    if whole and backbone.num_features == _feature_info(backbone)[-1]["num_chs"]:
        return  # pruning has removed all such layers
    training = backbone.training
    trainable = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    with contextlib.suppress(*UNSUPPORTED):  # FeatureModel.feature_shape reports a size that the backbone cannot take
        features = features_of(backbone.eval(), image)
        gradients = torch.autograd.grad(features.sum(), trainable, allow_unused=True)
        for parameter, gradient in zip(trainable, gradients, strict=True):
            parameter.requires_grad_(gradient is not None)
    backbone.train(training)


def without_classifier(backbone: TimmModel) -> TimmModel:
    """Copy a timm model without its classifier and whatever else the feature map does not need."""
    body = copy.deepcopy(backbone)
    try:
        body.reset_classifier(0, "")
    except UNSUPPORTED:
        body.reset_classifier(0)  # this family cannot drop its pooling, which has no parameters anyway
    cut(body, None)
    return body


def frozen_parameters(backbone: TimmModel, stages: int) -> set[str]:
    """Names of the parameters of the stem and the first ``stages`` stages, in the groups of timm's own matcher.

    Raises:
        ModelError: the model has no such stage, or timm does not define which layers it consists of.
    """
    body = without_classifier(backbone)
    names = [name for name, _ in body.named_parameters()]
    info = _feature_info(backbone)
    end = stage_index(backbone, stages)
    module = info[end]["module"]
    order = [name for name, _ in body.named_modules()]
    later = {entry["module"] for entry in info[end:]}
    if end == len(info) - 1 or not later & set(order):  # the last stage, or one beyond --out_stage
        return set(names)
    group = _groups(body) if module in order else None
    if group is None:
        raise ModelError(f"timm defines no layer groups for {type(backbone).__name__}: give --freeze_layers 0")
    inside = [name for name in names if name.startswith(f"{module}.")]
    if not inside:  # an activation without parameters: the stage ends at the last parameter registered before it
        before = order[: order.index(module)]
        inside = [name for name in names if name.rpartition(".")[0] in before]
    return {name for name in names if group[name] <= group[inside[-1]]}


def _groups(body: TimmModel) -> dict[str, int] | None:
    """Number of each parameter's group in the order of the layers, by timm's matcher; None if it has no matcher."""
    for coarse in (True, False):  # a few families have only the fine one
        with contextlib.suppress(*UNSUPPORTED):
            return group_parameters(body, body.group_matcher(coarse=coarse), reverse=True)
    return None

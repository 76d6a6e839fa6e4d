"""Any timm model as a feature map (b, f, h, w), and the freezing of its stages.

Stages 1 to 4 are numbered by the resolution of their output, strides 4, 8, 16 and 32, whatever the family
calls them; for token models of one resolution they are quarters of the blocks.
"""

import contextlib
import copy
import difflib
from typing import Any

import timm
import torch
from timm.layers import convert_sync_batchnorm
from timm.models import group_parameters
from torch import Tensor, nn

from sloter import ModelError
from sloter.weights import WAYS_OUT, convert_weights, load_weights, pretrained_source

TimmModel = Any  # an nn.Module with methods and attributes that timm's models share but nn.Module does not declare


def check_name(name: str) -> None:
    """Nothing if timm has a model of this name, and, after a dot, weights of this name for it.

    Raises:
        ModelError: it has not; with the names that are near, or those of its weights.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ModelError(f"unknown model '{name}'" + (f": did you mean {', '.join(near)}?" if near else ""))
    model, _, tag = name.partition(".")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise ModelError(f"unknown weights '{tag}' of '{model}': choose one of {', '.join(tags) or 'none'}")


def create_backbone(
    name: str,
    *,
    num_classes: int,
    in_chans: int,
    img_size: tuple[int, int],
    pretrained: bool = False,
    weights: dict[str, Tensor] | None = None,
    weights_source: str = "the weights given",
    out_stage: int | None = None,
    stem: str = "timm",
) -> TimmModel:
    """Build a timm model; with ``out_stage`` it ends after that stage.

    Args:
        name: a model name of timm.
        num_classes: outputs of timm's own classifier; 0 leaves it away.
        in_chans: channels of the picture.
        img_size: (H, W); only models with a fixed input size look at it.
        pretrained: load timm's weights.
        weights: load this state dict of timm's own model instead.
        weights_source: what messages call it, a file name for instance.
        out_stage: 1 to 4, or None for the whole backbone.
        stem: ``timm``, or ``3x3`` for the one that the published code gives to MNIST.

    Raises:
        ModelError: an unknown model or stage, or weights that do not fit or cannot be had.
    """
    check_name(name)
    config = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": num_classes if out_stage is None else 0, "in_chans": in_chans}
    if config is not None and config.fixed_input_size:
        options["img_size"] = img_size
    download = pretrained and weights is None
    backbone: TimmModel = _download(name, options) if download else timm.create_model(name, **options)
    if stem == "3x3":
        backbone.conv1 = nn.Conv2d(in_chans, 64, 3, stride=2, padding=1, bias=False)
    whole = set(backbone.state_dict())
    if weights is not None:
        weights = convert_weights(backbone, weights, in_chans=in_chans)
    _cut(backbone, out_stage)
    if out_stage is not None and num_classes:
        backbone.reset_classifier(num_classes, "avg")
    if weights is not None:
        load_weights(backbone, weights, beyond=whole, source=weights_source)
    if not num_classes:
        _freeze_unused(backbone, torch.zeros(1, in_chans, *img_size))
    return backbone


def _download(name: str, options: dict[str, Any]) -> TimmModel:
    source = pretrained_source(name)
    try:
        return timm.create_model(name, pretrained=True, **source, **options)
    except Exception as error:  # the hub's client raises the errors of several network libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"the pretrained weights of '{name}' cannot be loaded ({reason}): {WAYS_OUT}") from error


def _stages(backbone: TimmModel) -> list[dict[str, Any]]:
    info = getattr(backbone, "feature_info", None)
    if not info or not hasattr(backbone, "prune_intermediate_layers"):
        raise ModelError(f"timm gives no stages for {type(backbone).__name__}: choose another --model")
    return list(info) if isinstance(info, list) else info.get_dicts()


def stage_index(backbone: TimmModel, stage: int) -> int:
    """The index in timm's ``feature_info`` at which a stage (1 to 4) ends."""
    reductions = [entry["reduction"] for entry in _stages(backbone)]
    if len(set(reductions)) == 1:
        ends = {number: len(reductions) * number // 4 - 1 for number in (1, 2, 3, 4)}
    else:
        ends = {(r // 4).bit_length(): i for i, r in enumerate(reductions) if r in (4, 8, 16, 32)}
    if stage not in ends:
        raise ModelError(f"there is no stage {stage} in {type(backbone).__name__}: it has {', '.join(map(str, ends))}")
    return ends[stage]


def _cut(backbone: TimmModel, out_stage: int | None) -> None:
    """Remove what the feature map does not need, so that no parameter is left without a gradient."""
    stages = _stages(backbone)
    if out_stage is not None:
        try:
            backbone.prune_intermediate_layers([stage_index(backbone, out_stage)], prune_head=True)
        except (AttributeError, AssertionError, IndexError, TypeError) as error:
            raise ModelError(f"{type(backbone).__name__} cannot end after a stage: leave --out_stage away") from error
    elif not backbone.num_classes and stages[-1]["num_chs"] == backbone.num_features:
        # EfficientNet and its kin end in a convolution beyond the last stage, which pruning would take away.
        backbone.prune_intermediate_layers(1, prune_head=True)


def _freeze_unused(backbone: TimmModel, image: Tensor) -> None:
    """Freeze what makes no difference to the features, such as a layer behind the pooling that no pruning removes."""
    if backbone.num_features == _stages(backbone)[-1]["num_chs"]:
        return  # pruned to the features already
    training = backbone.training
    named = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    with contextlib.suppress(RuntimeError):  # a size that the backbone cannot take is told elsewhere
        features = backbone.eval().forward_features(image)
        for parameter, gradient in zip(
            named, torch.autograd.grad(features.sum(), named, allow_unused=True), strict=True
        ):  # fmt: skip
            parameter.requires_grad_(gradient is not None)
    backbone.train(training)


def grid_features(backbone: TimmModel, images: Tensor) -> Tensor:
    """The feature map of a timm model as (b, f, h, w), whatever its own layout."""
    features = backbone.forward_features(images)
    if features.ndim == 3:  # tokens, (b, prefix + n, f)
        height, width = backbone.patch_embed.grid_size
        tokens = features[:, getattr(backbone, "num_prefix_tokens", 0) :]  # (b, n, f)
        return tokens.transpose(1, 2).unflatten(2, (height, width))  # (b, f, h, w)
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        return features.permute(0, 3, 1, 2)  # (b, f, h, w)
    return features  # (b, f, h, w)


class FeatureModel(nn.Module):
    """What both models share: a timm model under the name ``backbone``, and stages of it that stay frozen."""

    def __init__(self, backbone: TimmModel) -> None:
        super().__init__()
        self.backbone: TimmModel = backbone
        self._frozen: list[nn.Module] = []

    def feature_shape(self, in_chans: int, img_size: tuple[int, int]) -> tuple[int, int, int]:
        """(f, h, w) of the feature map for a picture of this size.

        Raises:
            ModelError: the backbone cannot take such pictures.
        """
        training, device = self.training, next(self.parameters(), torch.zeros(())).device
        try:
            with torch.no_grad():
                image = torch.zeros(1, in_chans, *img_size, device=device)
                shape = grid_features(self.eval().backbone, image).shape
        except (RuntimeError, AssertionError, ValueError, AttributeError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            size = f"{img_size[0]}x{img_size[1]}"
            raise ModelError(f"this backbone gives no feature map of {size} pictures: {reason}") from error
        finally:
            self.train(training)
        if 0 in shape:
            raise ModelError(f"img_size {img_size[0]}x{img_size[1]} is too small: nothing is left of the feature map")
        return shape[1], shape[2], shape[3]

    def freeze(self, stages: int) -> None:
        """Freeze the stem and the first ``stages`` stages, batch-norm statistics included, never the classifier.

        Args:
            stages: 0 freezes nothing, 4 the whole backbone.

        Raises:
            ModelError: there is no such stage.
        """
        if stages == 0:
            return
        names = frozen_parameters(self.backbone, stages)
        for name, parameter in self.backbone.named_parameters():
            if name in names:
                parameter.requires_grad_(False)
        self._find_frozen()

    def _find_frozen(self) -> None:
        self._frozen = []
        for module in self.backbone.modules():
            own = list(module.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                self._frozen.append(module)
        self.train(self.training)

    def checkpoint_gradients(self) -> None:
        """Keep less of the backbone's forward pass for the backward pass, and compute it anew there (timm's own way).

        Raises:
            ModelError: timm does not offer it for this family.
        """
        name = type(self.backbone).__name__
        try:
            self.backbone.set_grad_checkpointing(True)
        except (AttributeError, AssertionError) as error:
            raise ModelError(f"--grad_checkpointing: timm does not offer it for {name}; leave the flag away") from error

    def synchronise_batch_norm(self) -> None:
        """Have batch norm take its statistics over all processes, which only GPUs can; parameters keep their names."""
        convert_sync_batchnorm(self)
        if self._frozen:  # its layers are others now
            self._find_frozen()

    def train(self, mode: bool = True) -> "FeatureModel":
        """As usual, but that frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def body_parameters(backbone: TimmModel) -> list[str]:
    """Names of the parameters that make the feature map: all but those of the classifier."""
    return [name for name, _ in _body(backbone).named_parameters()]


def _body(backbone: TimmModel) -> TimmModel:
    body = copy.deepcopy(backbone)
    try:
        body.reset_classifier(0, "")
    except (AssertionError, AttributeError, TypeError):
        body.reset_classifier(0)  # a family that cannot leave its pooling away: it has no parameters
    _cut(body, None)
    return body


def frozen_parameters(backbone: TimmModel, stages: int) -> set[str]:
    """Names of the parameters of the stem and the first stages, grouped as timm's own matcher groups them."""
    body = _body(backbone)
    names = [name for name, _ in body.named_parameters()]
    end = stage_index(backbone, stages)
    module = _stages(backbone)[end]["module"]
    order = [name for name, _ in body.named_modules()]
    later = [entry["module"] for entry in _stages(backbone)[end:]]
    if end == len(_stages(backbone)) - 1 or not set(later) & set(order):  # the last stage, or one beyond --out_stage
        return set(names)
    if module not in order or not hasattr(body, "group_matcher"):
        raise ModelError(f"timm does not say which layers of {type(backbone).__name__} make a stage: --freeze_layers 0")
    group = group_parameters(body, body.group_matcher(coarse=True), reverse=True)  # parameter name -> group
    inside = [name for name in names if name.startswith(f"{module}.")]
    if not inside:  # an activation without parameters: the stage ends at the last parameter registered before it
        before = order[: order.index(module)]
        inside = [name for name in names if name.rpartition(".")[0] in before]
    return {name for name in names if group[name] <= group[inside[-1]]}

"""Backbones: any timm model as a feature extractor with output (b, f, h, w), and the base class of both classifiers."""

import difflib
from typing import Any

import timm
import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from sloter import ModelError
from sloter.grid import choose_grid, reason, warn_of_margin
from sloter.grid import grid_features as grid_features
from sloter.model_names import architecture, known_model, weights_name
from sloter.stages import UNSUPPORTED, TimmModel, cut, freeze_unused, frozen_parameters, without_classifier
from sloter.state_dicts import convert_weights, load_weights
from sloter.weights import REMEDIES, pretrained_source


def check_name(name: str) -> None:
    """Raise unless timm knows this model and, for a name ``model.tag``, pretrained weights with this tag.

    Raises:
        ModelError: an unknown model or tag; the message names similar models, or the valid tags.
    """
    if not known_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "give --model the name of a timm model"
        raise ModelError(f"unknown model '{name}': {hint}")
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
    weights_source: str = "the given state dict",
    out_stage: int | None = None,
    stem: str = "timm",
) -> TimmModel:
    """Build a timm model; with ``out_stage`` it ends after that stage.

    Args:
        name: model name in timm.
        num_classes: outputs of timm's own classifier; 0 for no classifier.
        in_chans: channels of the picture.
        img_size: (H, W); used only by models with a fixed input size.
        pretrained: load the pretrained weights that :func:`sloter.model_names.weights_name` finds in timm.
        weights: load this state dict of the timm model instead.
        weights_source: name of ``weights`` in messages, for instance a file name.
        out_stage: 1 to 4, or None for the whole backbone.
        stem: ``timm``, or ``3x3`` for the stem that the published code uses on MNIST.

    Raises:
        ModelError: an unknown model or stage, or weights that do not fit or cannot be loaded.
    """
    check_name(name)
    download = pretrained and weights is None
    name = architecture(name, pretrained=download)
    config = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": num_classes if out_stage is None else 0, "in_chans": in_chans}
    if config is not None and config.fixed_input_size:
        options["img_size"] = img_size
    backbone = _create(name, options, img_size=img_size, pretrained=download)
    if stem == "3x3":
        backbone.conv1 = nn.Conv2d(in_chans, 64, 3, stride=2, padding=1, bias=False)
    uncut_names = set(backbone.state_dict())
    if weights is not None:
        weights = convert_weights(backbone, weights, in_chans=in_chans)
    index = cut(backbone, out_stage)
    if out_stage is not None and num_classes:
        _new_classifier(backbone, num_classes, (in_chans, *img_size))
    if weights is not None:
        load_weights(backbone, weights, uncut_names=uncut_names, source=weights_source)
    image = torch.zeros(1, in_chans, *img_size)
    choose_grid(backbone, image, index=index)
    if not num_classes:
        freeze_unused(backbone, image, grid_features)
    warn_of_margin(backbone, name=name, in_chans=in_chans, img_size=img_size)
    return backbone


def _create(name: str, options: dict[str, Any], *, img_size: tuple[int, int], pretrained: bool) -> TimmModel:
    try:
        return _download(name, options) if pretrained else timm.create_model(name, **options)
    except UNSUPPORTED as error:
        if isinstance(error, ModelError):
            raise
        size = f"{img_size[0]}x{img_size[1]}"
        raise ModelError(f"timm cannot build '{name}' for {size} pictures ({reason(error)}): choose another "
                         "--img_size or --model") from error  # fmt: skip


def _new_classifier(backbone: TimmModel, num_classes: int, shape: tuple[int, int, int]) -> None:
    """Give a cut model a classifier of its own; raise if timm's classifier of this family does not fit there."""
    training, why = backbone.training, ""
    for pooling in (("avg",), ()):  # a few families have no average of places, only their own pooling
        try:
            backbone.reset_classifier(num_classes, *pooling)
            with torch.no_grad():
                logits = backbone.eval()(torch.zeros(1, *shape))
            if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
                raise ValueError("its output has another shape")
            why = ""
            break
        except UNSUPPORTED as error:
            why = why or reason(error)
    backbone.train(training)
    if why:
        raise ModelError(f"{type(backbone).__name__} has no classifier after a stage ({why}): leave --out_stage "
                         "out, or choose another --model")  # fmt: skip


def _download(name: str, options: dict[str, Any]) -> TimmModel:
    source = pretrained_source(name)
    try:
        return timm.create_model(weights_name(name), pretrained=True, **source, **options)
    except Exception as error:  # the hub's client raises the errors of several network libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the pretrained weights of '{name}' ({weights_name(name)}) cannot be loaded ({reason}): {REMEDIES}"
        ) from error


def body_parameters(backbone: TimmModel) -> list[str]:
    """Names of the parameters that compute the feature map: all except those of the classifier."""
    return [name for name, _ in without_classifier(backbone).named_parameters()]


class FeatureModel(nn.Module):
    """Base of both classifiers: a timm model under the name ``backbone``, whose first stages may be frozen."""

    def __init__(self, backbone: TimmModel) -> None:
        super().__init__()
        self.backbone: TimmModel = backbone
        self._frozen: list[nn.Module] = []

    def feature_shape(self, in_chans: int, img_size: tuple[int, int]) -> tuple[int, int, int]:
        """Shape (f, h, w) of the feature map of a picture of this size (H, W).

        Raises:
            ModelError: the backbone cannot take such pictures.
        """
        training, device = self.training, next(self.parameters(), torch.zeros(())).device
        size = f"{img_size[0]}x{img_size[1]}"
        try:
            with torch.no_grad():
                image = torch.zeros(1, in_chans, *img_size, device=device)
                shape = grid_features(self.eval().backbone, image).shape
        except UNSUPPORTED as error:
            raise ModelError(f"this backbone gives no feature map of {size} pictures ({reason(error)}): choose another "
                             "--img_size or --model") from error  # fmt: skip
        finally:
            self.train(training)
        if len(shape) != 4:
            raise ModelError(f"this backbone gives features of shape {tuple(shape)} of {size} pictures, not a map "
                             "(b, f, h, w): choose another --model")  # fmt: skip
        if 0 in shape:
            raise ModelError(f"--img_size {size} is too small: the feature map of this backbone is empty; give a "
                             "larger --img_size or an earlier --out_stage")  # fmt: skip
        return shape[1], shape[2], shape[3]

    def freeze(self, stages: int) -> None:
        """Freeze the stem and the first ``stages`` stages with their batch-norm statistics, never the classifier.

        Args:
            stages: 0 freezes nothing, 4 the whole backbone.

        Raises:
            ModelError: the backbone has no such stage.
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
        """Save memory: recompute most of the backbone's activations in the backward pass, by timm's own method.

        Raises:
            ModelError: timm does not offer it for this family.
        """
        name = type(self.backbone).__name__
        try:
            self.backbone.set_grad_checkpointing(True)
        except (AttributeError, AssertionError) as error:
            raise ModelError(f"--grad_checkpointing: timm does not offer it for {name}; leave the flag out") from error

    def synchronise_batch_norm(self) -> None:
        """Compute batch-norm statistics over all processes, which works on GPUs only; parameters keep their names."""
        convert_sync_batchnorm(self)
        if self._frozen:  # the conversion has replaced its layers
            self._find_frozen()

    def train(self, mode: bool = True) -> "FeatureModel":
        """Set the training mode, except that frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

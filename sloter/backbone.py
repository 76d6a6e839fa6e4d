"""Backbones: any timm model as a feature extractor with output (b, f, h, w), and the base class of both classifiers."""

import difflib
from typing import Any

import timm
import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from sloter import ModelError
from sloter.model_names import architecture, known_model, weights_name
from sloter.stages import TimmModel, cut, freeze_unused, frozen_parameters, without_classifier
from sloter.weights import REMEDIES, convert_weights, load_weights, pretrained_source


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
    backbone: TimmModel = _download(name, options) if download else timm.create_model(name, **options)
    if stem == "3x3":
        backbone.conv1 = nn.Conv2d(in_chans, 64, 3, stride=2, padding=1, bias=False)
    uncut_names = set(backbone.state_dict())
    if weights is not None:
        weights = convert_weights(backbone, weights, in_chans=in_chans)
    cut(backbone, out_stage)
    if out_stage is not None and num_classes:
        backbone.reset_classifier(num_classes, "avg")
    if weights is not None:
        load_weights(backbone, weights, uncut_names=uncut_names, source=weights_source)
    if not num_classes:
        freeze_unused(backbone, torch.zeros(1, in_chans, *img_size))
    return backbone


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


def grid_features(backbone: TimmModel, images: Tensor) -> Tensor:
    """Compute the feature map of a timm model as (b, f, h, w), whatever its own layout."""
    features = backbone.forward_features(images)
    if features.ndim == 3:  # tokens, (b, prefix + n, f)
        height, width = backbone.patch_embed.grid_size
        tokens = features[:, getattr(backbone, "num_prefix_tokens", 0) :]  # (b, n, f)
        return tokens.transpose(1, 2).unflatten(2, (height, width))  # (b, f, h, w)
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        return features.permute(0, 3, 1, 2)  # (b, f, h, w)
    return features  # (b, f, h, w)


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
        except (RuntimeError, AssertionError, ValueError, AttributeError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"this backbone gives no feature map of {size} pictures ({reason}): choose another "
                             "--img_size or --model") from error  # fmt: skip
        finally:
            self.train(training)
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

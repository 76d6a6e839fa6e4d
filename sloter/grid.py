"""Feature map of a timm model as a grid (b, f, h, w), by whichever of timm's functions gives one.

Where ``forward_features`` returns a map, or tokens in the order of a grid, that is used: they are the features that the
classifier of the pretrained weights reads. Other families (class attention, several branches, pyramids of tokens) give
their last feature map through ``forward_intermediates``.
"""

import logging
import traceback
from typing import Any

import torch
from torch import Tensor, nn

from sloter.stages import UNSUPPORTED, TimmModel

logger = logging.getLogger(__name__)


def reason(error: Exception) -> str:
    """One line that says why timm refused: the message of its error, or else the condition that did not hold."""
    if str(error).strip():
        return str(error).strip().splitlines()[0]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "timm" in frame.filename]
    return f"{type(error).__name__}: {frames[-1].line}" if frames else type(error).__name__


def grid_features(backbone: TimmModel, images: Tensor) -> Tensor:
    """Compute the feature map of a timm model as (b, f, h, w), whatever its own layout."""
    call: dict[str, Any] | None = getattr(backbone, "grid_call", None)
    if call is not None:
        return backbone.forward_intermediates(images, **call)[-1]  # (b, f, h, w)
    features = backbone.forward_features(images)
    if not isinstance(features, Tensor):
        raise TypeError(f"its features are a {type(features).__name__}")
    if features.ndim == 3:  # tokens, (b, prefix + n, f)
        height, width = backbone.patch_embed.grid_size
        tokens = features[:, getattr(backbone, "num_prefix_tokens", 0) :]  # (b, n, f)
        return tokens.transpose(1, 2).unflatten(2, (height, width))  # (b, f, h, w)
    if getattr(backbone, "output_fmt", "NCHW") == "NHWC":
        return features.permute(0, 3, 1, 2)  # (b, f, h, w)
    return features  # (b, f, h, w)


def choose_grid(backbone: TimmModel, image: Tensor, *, index: int | None) -> None:
    """Choose by trial how :func:`grid_features` computes the grid, and keep the choice in the model.

    Nothing is changed where ``forward_features`` serves, or where nothing does.

    Args:
        backbone: a timm model, which may have been cut.
        image: any picture (1, ch, H, W).
        index: entry of ``feature_info`` after which the model has been cut; None for a whole model.
    """
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        if not _gives_grid(backbone, image) and hasattr(backbone, "forward_intermediates"):
            for indices in ([index], 1) if index is not None else (1,):
                for norm in (True, False):  # the classifier reads normalised features; some families have none here
                    backbone.grid_call = {"indices": indices, "norm": norm, "output_fmt": "NCHW",
                                          "intermediates_only": True}  # fmt: skip
                    if _gives_grid(backbone, image):
                        break
                    backbone.grid_call = None
                if backbone.grid_call is not None:
                    break
    backbone.train(training)


def _gives_grid(backbone: TimmModel, image: Tensor) -> bool:
    try:
        return grid_features(backbone, image).ndim == 4
    except UNSUPPORTED:
        return False


def warn_of_margin(backbone: TimmModel, *, name: str, in_chans: int, img_size: tuple[int, int]) -> None:
    """Log the margin at the right and the bottom of the pictures that no feature depends on.

    A model that cuts pictures into patches leaves out what is no whole patch. Pictures are not resized for it: a run's
    numbers would change, and the user knows best which size to give.

    Args:
        backbone: a timm model whose grid has been chosen.
        name: its name in messages.
        in_chans: channels of the picture.
        img_size: (H, W) of the pictures.
    """
    patch = _patch_size(backbone)
    if patch is None or all(size % side == 0 for size, side in zip(img_size, patch, strict=True)):
        return
    try:
        seen = _pixels_seen(backbone, (in_chans, *img_size))
    except UNSUPPORTED:  # FeatureModel.feature_shape reports a size that the backbone cannot take
        return
    if seen == img_size:
        return
    lost = 1 - seen[0] * seen[1] / (img_size[0] * img_size[1])
    fits = "x".join(str(-(-size // side) * side) for size, side in zip(img_size, patch, strict=True))
    logger.warning(
        "--img_size %dx%d: the %dx%d patches of '%s' cover %dx%d pixels; %.0f %% of each picture, at its right and "
        "bottom, is seen by no map, and maps are drawn as if they covered it; --img_size %s has no such margin",
        *img_size, *patch, name, *seen, 100 * lost, fits,
    )  # fmt: skip


def _patch_size(backbone: TimmModel) -> tuple[int, int] | None:
    """Height and width of the patches that the first convolution makes of a picture; None if they overlap."""
    first = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.kernel_size != first.stride or first.stride == (1, 1):
        return None
    return first.stride[0], first.stride[1]


def _pixels_seen(backbone: TimmModel, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width of the part of a picture (ch, H, W), from its top left, on which the features depend."""
    training, generator = backbone.training, torch.Generator().manual_seed(0)
    try:
        parameter = next(backbone.parameters())
        image = torch.randn(1, *shape, generator=generator).to(parameter).requires_grad_()
        features = grid_features(backbone.eval(), image)  # (1, f, h, w)
        weights = torch.randn(features.shape, generator=generator).to(features)
        gradient = torch.autograd.grad((features * weights).sum(), image)[0]
    finally:
        backbone.train(training)
    used = gradient.abs().sum((0, 1)) > 0  # (H, W)
    rows, columns = used.any(1).nonzero(), used.any(0).nonzero()
    return (int(rows.max()) + 1, int(columns.max()) + 1) if len(rows) else (shape[1], shape[2])

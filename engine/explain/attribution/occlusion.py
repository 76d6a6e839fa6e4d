"""Occlusion: the drop of a logit when a grey square hides a place (Zeiler and Fergus, ECCV 2014, section 4.2).

The maps equal those of captum's ``Occlusion``, but one forward pass of a picture with a square serves all classes.
"""

import torch
from torch import Tensor

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer


def windows(options: MethodSettings, size: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Sides and strides of the square in pixels; no stride leaves a gap."""
    sides = [max(1, round(options.occlusion_window * length)) for length in size]
    strides = [max(1, round(options.occlusion_stride * length)) for length in size]
    return sides, [min(stride, side) for stride, side in zip(strides, sides, strict=True)]


def stripes(length: int, side: int, stride: int) -> Tensor:
    """Pixels along one side of the picture that each position of the square hides: (positions, length), 0 or 1.

    The last square is cut at the edge of the picture.
    """
    starts = stride * torch.arange(-(-(length - side) // stride) + 1)[:, None]  # (positions, 1)
    pixels = torch.arange(length)
    return ((pixels >= starts) & (pixels < starts + side)).float()


def build_occlusion(model: SplitModel, options: MethodSettings) -> Explainer:
    """Build occlusion by zero, the mean colour; a pixel gets the mean of the squares that hide it."""

    @torch.no_grad()
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        size = (images.shape[2], images.shape[3])
        rows, columns = (stripes(*args).to(images) for args in zip(size, *windows(options, size), strict=True))
        shown = 1 - torch.einsum("ry,cx->rcyx", rows, columns).flatten(0, 1)  # (m, H, W), m squares
        logits, drops = model(images).gather(1, targets), []  # (b, t)
        for masks in shown.split(max(1, options.batch_size // len(images))):
            hidden = (masks[:, None, None] * images).flatten(0, 1)  # (m * b, ch, H, W)
            found = model(hidden).unflatten(0, (len(masks), -1))  # (m, b, c)
            drops.append(logits - found.gather(2, targets.expand(len(masks), -1, -1)))  # (m, b, t)
        drop = torch.cat(drops).unflatten(0, (len(rows), len(columns)))  # (rows, columns, b, t)
        # The mean over the squares that hide a pixel, one side of the picture after the other.
        return torch.einsum("rcbt,ry,cx->btyx", drop, rows / rows.sum(0), columns / columns.sum(0))  # (b, t, H, W)

    return explain

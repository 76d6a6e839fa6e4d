"""Stability: does a map stay the same where the picture is shifted by a few pixels, or saved as a JPEG?

These are changes that happen to pictures, other than the noise of :mod:`engine.explain.metrics.sensitivity` and the
attacks of Alvarez-Melis and Jaakkola (2018). The metric cannot tell a good map from a bad one: a constant map is the
most stable of all. Nor does a low value say that the map is at fault: the model itself may have changed its mind.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import ImageReadMode, decode_image, encode_jpeg

from engine.explain.interface import Explainer
from engine.explain.metrics.batch import MapBatch, upsample
from engine.explain.metrics.correlation import pearson

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # down and to the right: (rows, columns)


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Shift pictures (b, ch, H, W) by whole pixels; the border that appears repeats the outermost pixels."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)), mode="replicate")
    top, left = max(-down, 0), max(-right, 0)
    return padded[..., top : top + height, left : left + width]


def common(maps: Tensor, down: int, right: int) -> Tensor:
    """The part of maps (b, H, W) that is still in the picture after a shift: (b, H - |down|, W - |right|)."""
    height, width = maps.shape[-2:]
    return maps[:, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)]


def as_jpeg(images: Tensor, *, quality: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Save normalised pictures (b, ch, H, W) of 1 or 3 channels as JPEG files in memory, and read them again."""
    mean_, std_ = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))  # (ch, 1, 1) each
    pixels = ((images.cpu().float() * std_ + mean_) * 255).round().clamp(0, 255).to(torch.uint8)
    mode = ImageReadMode.GRAY if images.shape[1] == 1 else ImageReadMode.RGB
    read = [decode_image(encode_jpeg(own.contiguous(), quality=quality), mode) for own in pixels]
    return ((torch.stack(read).float() / 255 - mean_) / std_).to(images)


def stability(
    explainer: Explainer, images: Tensor, classes: Tensor, *, shift: float = 0.02, quality: int = 75,
    statistics: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Correlation of a map with the maps of changed pictures, all cut at zero and at the size of the picture.

    Args:
        explainer: source of the maps.
        images: (b, ch, H, W), normalised.
        classes: (b).
        shift: shift of the picture in each of four directions, as a share of its shorter side, at least one pixel; the
            map is shifted back before it is compared.
        quality: quality of the JPEG file, 1 to 100.
        statistics: ``mean`` and ``std`` of the normalisation; None leaves out the JPEG files.

    Returns:
        (b) each, 1 at best: ``stability_shift``, the mean of the four directions, and ``stability_jpeg``. A map that
        is constant before and after the change counts 1, one that is constant in one of them 0.
    """
    size = (images.shape[-2], images.shape[-1])

    def maps_of(pictures: Tensor) -> Tensor:
        return upsample(explainer(pictures, classes[:, None])[:, 0].clamp_min(0), size)  # (b, H, W)

    maps, found = maps_of(images), []
    pixels = max(1, round(shift * min(size)))
    for direction in DIRECTIONS:
        down, right = (pixels * step for step in direction)
        moved = common(maps_of(shifted(images, down, right)), -down, -right)  # what has come from the picture
        found.append(pearson(common(maps, down, right), moved))
    values = {"stability_shift": torch.stack(found).mean(0)}
    if statistics is not None:
        values["stability_jpeg"] = pearson(maps, maps_of(as_jpeg(images, quality=quality, **statistics)))
    return values


def stability_of_batch(batch: MapBatch) -> dict[str, Tensor]:
    """``stability_shift`` and ``stability_jpeg`` of a batch."""
    settings = batch.settings
    return stability(
        batch.explainer,
        batch.images,
        batch.classes,
        shift=settings.shift,
        quality=settings.jpeg_quality,
        statistics=batch.statistics,
    )

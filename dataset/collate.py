"""Stacking of the samples of a batch, with or without those that could not be decoded."""

import numpy as np
import torch
from torch import Tensor

from dataset.pictures import Sample, Unusable


def collate(
    samples: list[Sample], memory_format: torch.memory_format = torch.contiguous_format
) -> tuple[Tensor, Tensor, Tensor]:
    """Stack samples into images (b, ch, H, W) uint8 in the given memory format, labels (b) and numbers (b).

    Decoded pictures are channels-last. Conversion to another format is cheapest here: several workers share it, and the
    pixels are still bytes.
    """
    if memory_format == torch.channels_last:
        images = torch.stack([s.image.permute(1, 2, 0) for s in samples]).permute(0, 3, 1, 2)  # (b, ch, H, W)
    else:
        pixels = np.empty((len(samples), *samples[0].image.shape), np.uint8)  # (b, ch, H, W)
        for place, sample in zip(pixels, samples, strict=True):
            place[:] = sample.image.numpy()  # twice as fast as torch.stack, which converts pixel by pixel
        images = torch.from_numpy(pixels)
    return images, torch.tensor([s.label for s in samples]), torch.tensor([s.number for s in samples])


def collate_usable(
    samples: list[Sample | Unusable], *, memory_format: torch.memory_format, fill: bool
) -> tuple[tuple[Tensor, Tensor, Tensor] | None, list[tuple[int, str]]]:
    """Stack the samples that could be loaded, see :func:`collate`; None if there are none.

    Args:
        samples: of a batch.
        memory_format: of the images.
        fill: put other samples of the batch in the places of the missing ones, so that a batch of training has the
            same size in every process.

    Returns:
        The batch, and the number and the reason of each picture that could not be decoded.
    """
    usable = [sample for sample in samples if isinstance(sample, Sample)]
    failed = [(sample.number, sample.reason) for sample in samples if isinstance(sample, Unusable)]
    if not usable:
        return None, failed
    if fill:
        usable += [usable[i % len(usable)] for i in range(len(failed))]
    return collate(usable, memory_format), failed

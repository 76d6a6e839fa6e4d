"""Stacking of the samples of a batch, with or without those that could not be decoded."""

from typing import NamedTuple

import torch
from torch import Tensor

from dataset.changes import Change, Plan, changed, plan_changes
from dataset.pictures import Sample, Unusable


class Stack(NamedTuple):
    """Stacked samples, on the CPU."""

    images: Tensor  # (b, ch, H, W) uint8
    labels: Tensor  # (b)
    numbers: Tensor  # (b), indices of the pictures in the dataset
    plan: Plan | None  # changes that the device applies to the images; None if there is nothing to do


def collate(
    samples: list[Sample], memory_format: torch.memory_format = torch.contiguous_format, *, change: bool = True
) -> Stack:
    """Stack samples in the given memory format.

    Decoded pictures are channels-last. Conversion to another format is cheapest here: several workers share it, and the
    pixels are still bytes.

    Args:
        samples: of a batch.
        memory_format: of the images.
        change: apply the changes of the samples; else they are left to the device as a plan.
    """
    shape = samples[0].image.shape
    images = torch.empty((len(samples), *shape), dtype=torch.uint8, memory_format=memory_format)
    for place, sample in zip(images.numpy(), samples, strict=True):
        # numpy converts types and memory formats several times as fast as torch, which does it pixel by pixel.
        place[:] = (changed(sample.image, sample.change) if change else sample.image).numpy()
    plan = None
    if not change and any(sample.change != Change() for sample in samples):
        plan = plan_changes([sample.change for sample in samples], (shape[1], shape[2]))
    labels, numbers = torch.tensor([s.label for s in samples]), torch.tensor([s.number for s in samples])
    return Stack(images, labels, numbers, plan)


def collate_usable(
    samples: list[Sample | Unusable], *, memory_format: torch.memory_format, fill: bool, change: bool
) -> tuple[Stack | None, list[tuple[int, str]]]:
    """Stack the samples that could be loaded, see :func:`collate`; None if there are none.

    Args:
        samples: of a batch.
        memory_format: of the images.
        fill: put other samples of the batch in the places of the missing ones, so that a batch of training has the
            same size in every process.
        change: apply the changes of the samples.

    Returns:
        The batch, and the number and the reason of each picture that could not be decoded.
    """
    usable = [sample for sample in samples if isinstance(sample, Sample)]
    failed = [(sample.number, sample.reason) for sample in samples if isinstance(sample, Unusable)]
    if not usable:
        return None, failed
    if fill:
        usable += [usable[i % len(usable)] for i in range(len(failed))]
    return collate(usable, memory_format, change=change), failed

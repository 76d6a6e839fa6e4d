"""Transforms of pictures before the model sees them: resizing, and augmentation in training.

Pictures stay uint8 until the batch is on the device, where ``mixup`` and ``cutmix`` work on whole batches of floats.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from dataset.paper_augmentation import PaperAugmentation

# Random change of a picture (ch, H, W) uint8; it returns another tensor, since the picture may belong to a cache.
PictureTransform = Callable[[Tensor], Tensor]

BILINEAR = v2.InterpolationMode.BILINEAR
# Stronger augmentation than the paper's, picture by picture. Erasing fills with black, since the pixels are not
# normalised yet and the mean colour differs between datasets.
POLICIES: dict[str, Callable[[], v2.Transform]] = {
    "trivial": lambda: v2.TrivialAugmentWide(interpolation=BILINEAR),  # Mueller and Hutter 2021
    "erasing": lambda: v2.RandomErasing(p=0.25),  # Zhong et al. 2020
}
# Policies that mix the pictures of a batch and their labels; the strengths are those of torchvision's recipes.
BATCH_POLICIES: dict[str, Callable[[int], v2.Transform]] = {
    "mixup": lambda num_classes: v2.MixUp(alpha=0.2, num_classes=num_classes),  # Zhang et al. 2018
    "cutmix": lambda num_classes: v2.CutMix(alpha=1.0, num_classes=num_classes),  # Yun et al. 2019
}


def resized(picture: Image.Image, img_size: tuple[int, int]) -> Tensor:
    """Resize a grey or RGB picture to (ch, H, W) uint8 as in the paper: bilinear, antialiased, aspect not kept."""
    pixels = torch.from_numpy(np.array(picture))  # (H', W') or (H', W', ch)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # (ch, H', W')
    return F.resize(pixels, list(img_size), antialias=True)  # (ch, H, W)


def augmentation(*, augment: bool | str, policies: Sequence[str] = ()) -> PictureTransform | None:
    """Build the random transform of single training pictures (ch, H, W) uint8; None if there is nothing to do.

    Args:
        augment: True or ``paper`` for the flips, affine transform and blur of the published code, see
            :mod:`dataset.paper_augmentation`; False for none of them.
        policies: keys of :data:`POLICIES` to include; those of :data:`BATCH_POLICIES` are for :func:`batch_mixing`.

    Raises:
        ValueError: an unknown policy.
    """
    _check(policies)
    steps: list[PictureTransform] = []
    if augment:
        steps.append(PaperAugmentation())
    steps += [make() for name, make in POLICIES.items() if name in policies]
    if len(steps) < 2:
        return steps[0] if steps else None
    return v2.Compose(steps)


def batch_mixing(policies: Sequence[str], num_classes: int) -> v2.Transform | None:
    """Build the transform that mixes a batch: images (b, ch, H, W) and labels (b) to images and soft labels (b, c).

    With both mixup and cutmix, each batch gets one of them at random. They draw from the global random state.

    Args:
        policies: keys of :data:`BATCH_POLICIES` to include; those of :data:`POLICIES` are for :func:`augmentation`.
        num_classes: c.

    Returns:
        The transform, or None if no policy mixes batches.

    Raises:
        ValueError: an unknown policy.
    """
    _check(policies)
    chosen = [make(num_classes) for name, make in BATCH_POLICIES.items() if name in policies]
    return v2.RandomChoice(chosen) if chosen else None


def _check(policies: Sequence[str]) -> None:
    for name in policies:
        if name not in POLICIES and name not in BATCH_POLICIES:
            raise ValueError(f"unknown augmentation {name!r}: choose one of {', '.join([*POLICIES, *BATCH_POLICIES])}")

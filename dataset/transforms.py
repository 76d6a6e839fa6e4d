"""What becomes of a picture before the model sees it: resized always, augmented in training.

Everything stays uint8 until the batch is on the device; ``mixup`` and ``cutmix`` alone work there, on whole batches.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

BILINEAR = v2.InterpolationMode.BILINEAR
# Stronger augmentation than the paper's, picture by picture. Erasing paints black: what is grey after normalising
# differs from one dataset to the next, and the pixels are not normalised yet.
POLICIES: dict[str, Callable[[], v2.Transform]] = {
    "trivial": lambda: v2.TrivialAugmentWide(interpolation=BILINEAR),  # Mueller and Hutter 2021
    "erasing": lambda: v2.RandomErasing(p=0.25),  # Zhong et al. 2020
}
# Policies that mix the pictures of a batch and their labels; the strengths are those of torchvision's recipes.
BATCH_POLICIES: dict[str, Callable[[int], v2.Transform]] = {
    "mixup": lambda num_classes: v2.MixUp(alpha=0.2, num_classes=num_classes),  # Zhang et al. 2018
    "cutmix": lambda num_classes: v2.CutMix(alpha=1.0, num_classes=num_classes),  # Yun et al. 2019
}


class SeparableBlur(v2.GaussianBlur):
    """Gaussian blur of rows, then of columns: the same picture in half the time."""

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        width, height = self.kernel_size
        rows = F.gaussian_blur(inpt.float(), [width, 1], params["sigma"])
        return F.gaussian_blur(rows, [1, height], params["sigma"]).round_().to(inpt.dtype)


def resized(picture: Image.Image, img_size: tuple[int, int]) -> Tensor:
    """(ch, H, W) uint8 of a grey or RGB picture, whatever its aspect, as the paper does: bilinear, antialiased."""
    pixels = torch.from_numpy(np.array(picture))  # (H', W') or (H', W', ch)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # (ch, H', W')
    return F.resize(pixels, list(img_size), antialias=True)  # (ch, H, W)


def augmentation(img_size: tuple[int, int], *, paper: bool, policies: Sequence[str] = ()) -> v2.Transform | None:
    """Random changes of one training picture, (ch, H, W) uint8 to the same; None where nothing is asked for.

    Args:
        img_size: (H, W).
        paper: the paper's set, each with probability one half: flips, affine, blur.
        policies: keys of :data:`POLICIES`; those of :data:`BATCH_POLICIES` are left to :func:`batch_mixing`.

    Raises:
        ValueError: an unknown policy.
    """
    _check(policies)
    steps: list[v2.Transform] = []
    if paper:
        steps += [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomVerticalFlip(0.5),
            v2.RandomApply([v2.RandomAffine(10, translate=(0.1, 0.1), scale=(0.8, 1), interpolation=BILINEAR)]),
            # 19 pixels hold three standard deviations of the widest blur; reflection fills less than one picture.
            v2.RandomApply([SeparableBlur(min(19, 2 * min(img_size) - 1), sigma=(0.1, 3.0))]),
        ]
    steps += [make() for name, make in POLICIES.items() if name in policies]
    return v2.Compose(steps) if steps else None


def batch_mixing(policies: Sequence[str], num_classes: int) -> v2.Transform | None:
    """Mixes a batch, images (b, ch, H, W) float and labels (b) to images and soft labels (b, c); None if not asked.

    Where both mixup and cutmix are asked for, each batch gets one of them. They draw from the global random state.

    Raises:
        ValueError: an unknown policy.
    """
    _check(policies)
    chosen = [make(num_classes) for name, make in BATCH_POLICIES.items() if name in policies]
    return v2.RandomChoice(chosen) if chosen else None


def _check(policies: Sequence[str]) -> None:
    for name in policies:
        if name not in POLICIES and name not in BATCH_POLICIES:
            raise ValueError(f"unknown augmentation {name!r}: choose of {', '.join([*POLICIES, *BATCH_POLICIES])}")

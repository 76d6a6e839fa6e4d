"""Random steps of augmentation, drawn from the global random state as torchvision's transforms draw them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

# Random change of a picture (ch, H, W); it returns another tensor, since the picture may belong to a cache.
Step = Callable[[Tensor], Tensor]


class RandomSteps:
    """Steps in random order, of which each is taken with probability 0.5.

    Between the steps pixels are floats of whole values, which saves conversions; the result is (ch, H, W) uint8. It
    does the same as ``RandomApply`` and ``RandomOrder`` of torchvision, whose calls take longer than some of the steps.

    Args:
        steps: the steps.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = [*steps]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Change a picture (ch, H, W) uint8."""
        for number in torch.randperm(len(self.steps)).tolist():
            if float(torch.rand(())) < 0.5:
                pixels = self.steps[number](pixels)
        if pixels.dtype == torch.uint8:
            return pixels
        return torch.from_numpy(pixels.numpy().astype(np.uint8))  # several times as fast as by torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random state of the CPU, and restore it afterwards.

    In a hundredth of the time of ``fork_rng`` and ``manual_seed``, and without reseeding the GPUs.
    """
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


def uniform(low: float, high: float) -> float:
    """Draw a number from a uniform distribution."""
    return float(torch.empty(()).uniform_(low, high))


def flip_left_right(pixels: Tensor) -> Tensor:
    """Mirror a picture (ch, H, W) left to right."""
    return pixels.flip(-1)


def flip_top_bottom(pixels: Tensor) -> Tensor:
    """Mirror a picture (ch, H, W) top to bottom."""
    return pixels.flip(-2)

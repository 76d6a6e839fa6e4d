"""Changes of pictures that augmentation has drawn, applied to a batch on its device.

A :class:`Change` is drawn for each picture when it is loaded. On a CPU the loading processes apply it, picture by
picture, while the pixels are in the processor's cache; on a GPU a :class:`Plan` of the whole batch goes to the device
with the pixels, and nothing waits for the device.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset.affine import AffineMap, affine_lines, affine_mapped
from dataset.blur import Blur, blur_bands, blurred


class Change(NamedTuple):
    """Steps that change a picture, in this order; pixels are rounded to whole numbers after each.

    That is every order: a flip that comes after another step can as well come before it, if it mirrors an affine map.
    """

    left_right: bool = False
    top_bottom: bool = False
    blur_before: Blur | None = None
    affine: AffineMap | None = None
    blur_after: Blur | None = None

    def then_flip_left_right(self) -> "Change":
        """Add a flip left to right after the other steps."""
        affine = self.affine and self.affine.mirrored(left_right=True)
        return self._replace(left_right=not self.left_right, affine=affine)

    def then_flip_top_bottom(self) -> "Change":
        """Add a flip top to bottom after the other steps."""
        affine = self.affine and self.affine.mirrored(left_right=False)
        return self._replace(top_bottom=not self.top_bottom, affine=affine)

    def then_map(self, affine: AffineMap) -> "Change":
        """Add the affine map after the other steps."""
        return self._replace(affine=affine)

    def then_blur(self, blur: Blur | None) -> "Change":
        """Add the blur, if it is one, after the other steps."""
        return self._replace(blur_after=blur) if self.affine else self._replace(blur_before=blur)


class Step(NamedTuple):
    """Step of some pictures of a batch: their numbers in it (m), and what the step needs for them, (m, ...) each."""

    pictures: Tensor
    values: tuple[Tensor, ...] = ()


class Plan(NamedTuple):
    """Changes of a batch: each step with the pictures that take it, None if no picture does."""

    left_right: Step | None
    top_bottom: Step | None
    blur_before: Step | None
    affine: Step | None
    blur_after: Step | None


def plan_changes(changes: Sequence[Change], size: tuple[int, int]) -> Plan:
    """Prepare the changes of the pictures of a batch, of size (H, W), on the CPU."""
    steps: list[Step | None] = []
    for (prepare, _), drawn in zip(STEPS, zip(*changes, strict=True), strict=True):
        pictures = [number for number, values in enumerate(drawn) if values]
        values = prepare([drawn[number] for number in pictures], size) if pictures else ()
        steps.append(Step(torch.tensor(pictures), values) if pictures else None)
    return Plan(*steps)


def change_pixels(pixels: Tensor, plan: Plan) -> Tensor:
    """Change the pictures of a batch (b, ch, H, W) by a plan on the same device.

    Returns:
        (b, ch, H, W) of whole values, float, or of the type of the pictures if there was nothing to compute; pictures
        are never changed in place.
    """
    given = pixels
    for step, (_, take) in zip(plan, STEPS, strict=True):
        if step is None:
            continue
        if len(step.pictures) == len(pixels):  # all of them, such as one alone
            pixels = take(pixels, *step.values)
        else:
            results = take(pixels.index_select(0, step.pictures), *step.values)
            pixels = pixels.to(results.dtype, copy=pixels is given).index_copy_(0, step.pictures, results)
    return pixels


def changed(pixels: Tensor, change: Change) -> Tensor:
    """Change a picture (ch, H, W), see :func:`change_pixels`."""
    if change == Change():
        return pixels
    if change.blur_before:  # which works on planes; numpy makes them of channels-last bytes faster than torch
        pixels = torch.from_numpy(np.ascontiguousarray(pixels.numpy()))
    return change_pixels(pixels[None], plan_changes([change], (pixels.shape[1], pixels.shape[2])))[0]


def to_device(plan: Plan, device: torch.device) -> Plan:
    """Copy a plan to the device; from pinned memory nothing waits for it."""

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    return Plan(*(step and Step(moved(step.pictures), tuple(map(moved, step.values))) for step in plan))


# What prepares the values of each step of a plan from the drawn ones and the size, and what takes the step with them.
STEPS: tuple[tuple[Callable[..., tuple[Tensor, ...]], Callable[..., Tensor]], ...] = (
    (lambda flips, size: (), lambda pixels: pixels.flip(3)),
    (lambda flips, size: (), lambda pixels: pixels.flip(2)),
    (blur_bands, blurred),
    (affine_lines, affine_mapped),
    (blur_bands, blurred),
)

"""Occlusion: the drop of a logit when a grey square hides a place (Zeiler and Fergus, ECCV 2014, section 4.2)."""

import torch
from captum.attr import Occlusion
from torch import Tensor

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer


class Replay:
    """Model that stores its outputs and replays them, since captum repeats the same calls for every class."""

    def __init__(self, model: SplitModel) -> None:
        self.model, self.outputs, self.call = model, list[Tensor](), 0

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (b, c) of pictures (b, ch, H, W); the model itself runs in the first round only."""
        if self.call == len(self.outputs):
            self.outputs.append(self.model(images))
        self.call += 1
        return self.outputs[self.call - 1]

    def rewind(self) -> "Replay":
        """Restart with the first output."""
        self.call = 0
        return self


def windows(options: MethodSettings, size: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Sides and strides of the square in pixels; no stride leaves a gap."""
    sides = [max(1, round(options.occlusion_window * length)) for length in size]
    strides = [max(1, round(options.occlusion_stride * length)) for length in size]
    return sides, [min(stride, side) for stride, side in zip(strides, sides, strict=True)]


def build_occlusion(model: SplitModel, options: MethodSettings) -> Explainer:
    """Build occlusion by zero, the mean colour; a pixel gets the mean of the squares that hide it."""

    @torch.no_grad()
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        channels = images.shape[1]
        sides, strides = windows(options, (images.shape[2], images.shape[3]))
        replay = Replay(model)
        maps = []
        for column in targets.T:
            attribution = Occlusion(replay.rewind()).attribute(
                images,
                sliding_window_shapes=(channels, *sides),
                strides=(channels, *strides),
                target=column,
                perturbations_per_eval=max(1, options.batch_size // len(images)),
            )
            maps.append(attribution[:, 0])  # (b, H, W): all channels agree, since a square hides all
        return torch.stack(maps, 1)  # (b, t, H, W)

    return explain

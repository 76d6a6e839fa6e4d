"""Occlusion: how much a logit falls when a grey square hides a place (Zeiler and Fergus, ECCV 2014, section 4.2)."""

import torch
from captum.attr import Occlusion
from torch import Tensor

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import Explainer, SplitModel


class Replay:
    """A model that remembers its answers: captum repeats its calls, in the same order, for every class."""

    def __init__(self, model: SplitModel) -> None:
        self.model, self.answers, self.call = model, list[Tensor](), 0

    def __call__(self, images: Tensor) -> Tensor:
        """(b, ch, H, W) to logits (b, c), the first time round by the model."""
        if self.call == len(self.answers):
            self.answers.append(self.model(images))
        self.call += 1
        return self.answers[self.call - 1]

    def rewind(self) -> "Replay":
        """Begin again with the first answer."""
        self.call = 0
        return self


def windows(options: MethodSettings, size: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Sides and steps of the square in pixels; a step leaves no gap."""
    sides = [max(1, round(options.occlusion_window * length)) for length in size]
    steps = [max(1, round(options.occlusion_stride * length)) for length in size]
    return sides, [min(step, side) for step, side in zip(steps, sides, strict=True)]


def build_occlusion(model: SplitModel, options: MethodSettings) -> Explainer:
    """Occlusion by captum with zero, the mean colour; a pixel gets the mean over the squares that hide it."""

    @torch.no_grad()
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        channels = images.shape[1]
        sides, steps = windows(options, (images.shape[2], images.shape[3]))
        replay = Replay(model)
        maps = []
        for column in targets.T:
            attribution = Occlusion(replay.rewind()).attribute(
                images,
                sliding_window_shapes=(channels, *sides),
                strides=(channels, *steps),
                target=column,
                perturbations_per_eval=max(1, options.batch_size // len(images)),
            )
            maps.append(attribution[:, 0])  # a square hides all channels, which therefore agree: (b, H, W)
        return torch.stack(maps, 1)  # (b, t, H, W)

    return explain

"""IBA: how many bits each place of the layer has to keep (Schulz et al., ICLR 2020, section 3).

The per-sample bottleneck: noise with the mean and deviation that each feature has over the data takes the place of
features, as much as the class allows. Constants are those of the paper and of the authors' package.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import Explainer, SplitModel, each_pair, forward_from_leaf, on_output, quiet
from engine.explain.blur import blur
from tools import ToolError

START = 5.0  # of alpha: sigmoid(5) = 0.993, nearly everything passes
SMOOTHING = 1.0  # sigma of the blur of lambda, in places
RATE = 1.0  # of Adam
MIN_STD = 0.01
ACTIVE = 0.01  # a feature that is zero in more than 99 % of the pictures carries nothing


def feature_statistics(model: SplitModel, loader: Iterable[Any], pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviation and whether it is ever active of each feature, three (f, h, w).

    Args:
        model: the classifier.
        loader: batches with ``.images`` (b, ch, H, W), normalised.
        pictures: how many of its pictures to use; fewer if there are fewer.

    Raises:
        ToolError: fewer than two pictures.
    """
    count = 0
    total = squares = active = torch.zeros(())
    device = next((parameter.device for parameter in model.parameters()), None)
    with quiet(model), torch.no_grad():
        for batch in loader:
            features = forward_from_leaf(model, batch.images[: pictures - count].to(device))[0].double()  # (b, f, h, w)
            count += len(features)
            total = features.sum(0) + total  # (f, h, w)
            squares = features.square().sum(0) + squares
            active = (features != 0).sum(0) + active
            if count >= pictures:
                break
        if count < 2:
            raise ToolError(
                f"IBA needs the features of several pictures and was given {count}: give it a larger data set"
            )
        mean = total / count
        std = ((squares - count * mean.square()) / (count - 1)).clamp(min=0).sqrt()
        return mean.float(), std.clamp(min=MIN_STD).float(), (active > ACTIVE * count).float()


def information(features: Tensor, passing: Tensor) -> Tensor:
    """Nats that each feature keeps, its divergence from the noise: standardised features, the share that passes."""
    variance = (1 - passing).clamp(min=1e-6).square()
    return 0.5 * ((passing * features).square() + variance - 1 - variance.log())


def build_iba(model: SplitModel, options: MethodSettings, seed: int, loader: Iterable[Any] | None) -> Explainer:
    """IBA in bits at the layer's resolution; each pair of a picture and a class has a bottleneck of its own.

    Raises:
        ToolError: there is no loader, or it has fewer than two pictures; when called, if the pictures have another
            size than those of the loader.
    """
    if loader is None:
        raise ToolError("IBA needs pictures of the data set, to know its features: give a loader")
    mean, std, active = feature_statistics(model, loader, options.iba_pictures)

    def logits(pictures: Tensor, maps: Tensor) -> Tensor:
        if model.at_tap:
            return model.head(maps)
        with on_output(model.layer, lambda output: maps):
            return model(pictures)

    def optimise(pictures: Tensor, classes: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            features = forward_from_leaf(model, pictures)[0]
        if features.shape[1:] != mean.shape:
            raise ToolError(f"IBA knows features of shape {tuple(mean.shape)}, these are {tuple(features.shape[1:])}")
        standard = (features.detach() - mean) / std  # (p, f, h, w)
        alpha = torch.full_like(standard, START, requires_grad=True)
        optimiser = torch.optim.Adam([alpha], lr=RATE)
        # Pictures only matter where the whole model runs: one for each noisy copy.
        copies = pictures.repeat_interleave(options.iba_samples, 0) if not model.at_tap else pictures
        labels = classes.repeat_interleave(options.iba_samples)
        for _ in range(options.iba_steps):
            # The same noise for all pairs, so that each is independent of the others.
            noise = torch.randn(options.iba_samples, *mean.shape, generator=generator).to(standard)
            passing = blur(alpha.sigmoid(), SMOOTHING)
            mixed = (passing * standard)[:, None] + (1 - passing)[:, None] * noise  # (p, samples, f, h, w)
            maps = ((mixed * std + mean) * active).flatten(0, 1)
            loss = F.cross_entropy(logits(copies, maps), labels, reduction="sum") / options.iba_samples
            kept = (information(standard, passing) * active).flatten(1).mean(1).sum()  # beta / (f h w) in the paper
            optimiser.zero_grad()
            (loss + options.iba_beta * kept).backward()
            optimiser.step()
        bits = information(standard, blur(alpha.detach().sigmoid(), SMOOTHING)) * active / math.log(2)
        return bits.sum(1)  # (p, h, w)

    return lambda images, targets: each_pair(
        optimise, images, targets, max(1, options.batch_size // options.iba_samples)
    )

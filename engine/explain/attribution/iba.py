"""IBA: the bits of information that the class needs from each place (Schulz et al., ICLR 2020, section 3).

The per-sample bottleneck: features are replaced by noise with their mean and standard deviation over the data, as far
as the prediction of the class allows. Constants are those of the paper and of the authors' package.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, each_pair, forward_from_leaf, frozen, on_output
from engine.explain.blur import blur
from engine.explain.interface import Explainer, PictureBatch
from tools import ToolError

ALPHA_START = 5.0  # sigmoid(5) = 0.993: nearly everything passes
SMOOTHING = 1.0  # sigma of the blur of lambda, in places
RATE = 1.0  # learning rate of Adam
MIN_STD = 0.01
MIN_ACTIVE_SHARE = 0.01  # a feature that is nonzero in fewer of the pictures carries no information


def feature_statistics(
    model: SplitModel, loader: Iterable[PictureBatch], pictures: int
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Mean, standard deviation and activity (0 or 1) of each feature, (f, h, w) each.

    Args:
        model: the classifier.
        loader: batches of pictures.
        pictures: maximum number of pictures to use.

    Raises:
        ToolError: fewer than two pictures.
    """
    count = 0
    total = squares = active = torch.zeros(())
    device = next((parameter.device for parameter in model.parameters()), None)
    with frozen(model), torch.no_grad():
        for batch in loader:
            features = forward_from_leaf(model, batch.images[: pictures - count].to(device))[0]  # (b, f, h, w)
            features = features.cpu().double()  # MPS has no double precision
            count += len(features)
            total = features.sum(0) + total  # (f, h, w)
            squares = features.square().sum(0) + squares
            active = (features != 0).sum(0) + active
            if count >= pictures:
                break
        if count < 2:
            raise ToolError(f"IBA needs the features of several pictures and was given {count}: use a larger dataset")
        mean = total / count
        std = ((squares - count * mean.square()) / (count - 1)).clamp(min=0).sqrt()
        carrying = active > MIN_ACTIVE_SHARE * count
        return mean.float().to(device), std.clamp(min=MIN_STD).float().to(device), carrying.float().to(device)


def information(features: Tensor, passing: Tensor) -> Tensor:
    """Information in nats of standardised features that pass to the share ``passing``: KL divergence from the noise."""
    variance = (1 - passing).clamp(min=1e-6).square()
    return 0.5 * ((passing * features).square() + variance - 1 - variance.log())


def replaced_logits(model: SplitModel, pictures: Tensor, output: Tensor) -> Tensor:
    """Logits (p, c) of pictures (p, ch, H, W) with the output of the layer replaced by ``output`` (p, f, h, w)."""
    if model.at_tap:
        return model.head(output)
    with on_output(model.layer, lambda own: output):
        return model(pictures)


def build_iba(
    model: SplitModel, options: MethodSettings, seed: int, loader: Iterable[PictureBatch] | None
) -> Explainer:
    """Build IBA: maps in bits at the layer's resolution, by a bottleneck for each picture and class.

    Raises:
        ToolError: there is no loader, or it has fewer than two pictures; from the explainer, if the features of its
            pictures have another shape than those of the loader.
    """
    if loader is None:
        raise ToolError("IBA needs pictures of the dataset: give --dataset_dir, or leave IBA out of --methods")
    mean, std, active = feature_statistics(model, loader, options.iba_pictures)

    def optimise(pictures: Tensor, classes: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            features = forward_from_leaf(model, pictures)[0]
        if features.shape[1:] != mean.shape:
            built, found = tuple(mean.shape), tuple(features.shape[1:])
            raise ToolError(
                f"IBA was built for features of shape {built}, not {found}: use the same --cam_layer and --img_size"
            )
        standard = (features.detach() - mean) / std  # (p, f, h, w)
        alpha = torch.full_like(standard, ALPHA_START, requires_grad=True)
        optimiser = torch.optim.Adam([alpha], lr=RATE)
        # The model runs from the pictures, although the layer is replaced: one picture for each noisy copy.
        copies = pictures.repeat_interleave(options.iba_samples, 0) if not model.at_tap else pictures
        labels = classes.repeat_interleave(options.iba_samples)
        for _ in range(options.iba_steps):
            # The same noise for all pairs, so that a map does not depend on the others.
            noise = torch.randn(options.iba_samples, *mean.shape, generator=generator).to(standard)
            passing = blur(alpha.sigmoid(), SMOOTHING)
            mixed = (passing * standard)[:, None] + (1 - passing)[:, None] * noise  # (p, samples, f, h, w)
            maps = ((mixed * std + mean) * active).flatten(0, 1)
            logits = replaced_logits(model, copies, maps)  # (p * samples, c)
            loss = F.cross_entropy(logits, labels, reduction="sum") / options.iba_samples
            kept = (information(standard, passing) * active).flatten(1).mean(1).sum()  # beta / (f h w) in the paper
            optimiser.zero_grad()
            (loss + options.iba_beta * kept).backward()
            optimiser.step()
        bits = information(standard, blur(alpha.detach().sigmoid(), SMOOTHING)) * active / math.log(2)
        return bits.sum(1)  # (p, h, w)

    chunk = max(1, options.batch_size // options.iba_samples)
    return lambda images, targets: each_pair(optimise, images, targets, chunk)

"""Score-CAM, SS-CAM and IS-CAM: channels of the layer, weighted by the logits of the picture masked by each channel.

Score-CAM: Wang et al., CVPRW 2020, section 3. SS-CAM: Wang et al., 2020, section 3. IS-CAM: Naidu et al., 2020, section
3. The maps equal those of torchcam's extractors, but one forward pass of a masked picture serves all classes.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, forward_from_leaf
from engine.explain.interface import Explainer

Change = Callable[[Tensor], Tensor]


def plain(options: MethodSettings, seed: int) -> Iterator[Change]:
    """Score-CAM: leave the mask as it is."""
    yield lambda masks: masks


def noisy(options: MethodSettings, seed: int) -> Iterator[Change]:
    """SS-CAM: add Gaussian noise to the mask, the same noise for each picture."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(options.ss_samples):
        # One draw for each channel, so that the size of the chunks does not matter.
        yield lambda masks: masks + options.ss_std * torch.stack(
            [torch.randn(masks.shape[1:], generator=generator) for _ in masks]
        ).to(masks)  # fmt: skip


def integrated(options: MethodSettings, seed: int) -> Iterator[Change]:
    """IS-CAM: multiply the mask by 1/N, (1 + 2)/N, (1 + 2 + 3)/N, ..."""
    for step in range(1, options.is_samples + 1):
        factor = step * (step + 1) / 2 / options.is_samples
        yield lambda masks, factor=factor: masks * factor  # type: ignore[misc]


VARIANTS: dict[str, Callable[[MethodSettings, int], Iterator[Change]]] = {
    "ScoreCAM": plain, "SSCAM": noisy, "ISCAM": integrated,
}  # fmt: skip


def masked_logits(model: SplitModel, image: Tensor, masks: Tensor, changes: Iterable[Change], size: int) -> Tensor:
    """Logits (f, c) of the picture under each mask, averaged over the changes.

    Args:
        model: the classifier.
        image: (ch, H, W).
        masks: (f, h, w), each from 0 to 1.
        changes: functions of the upsampled masks, one applied at a time.
        size: number of masks per forward pass.
    """
    total, count = torch.zeros(len(masks), model.num_classes).to(image), 0
    for change in changes:
        for chunk, into in zip(masks.split(size), total.split(size), strict=True):
            large = F.interpolate(chunk[:, None], image.shape[1:], mode="bilinear", align_corners=False)  # (m, 1, H, W)
            into += model(change(large) * image)
        count += 1
    return total / count


def build_score_cam(name: str, model: SplitModel, options: MethodSettings, seed: int) -> Explainer:
    """Build one of :data:`VARIANTS`; the weights are the softmax over the channels of the masked logits."""

    @torch.no_grad()
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        features, _ = forward_from_leaf(model, images)
        maps = []
        for image, channels, classes in zip(images, features, targets, strict=True):
            masks = channels - channels.amin((1, 2), keepdim=True)  # (f, h, w)
            masks = masks / (masks.amax((1, 2), keepdim=True) + 1e-8)
            changes = VARIANTS[name](options, seed)
            logits = masked_logits(model, image, masks, changes, options.batch_size)  # (f, c)
            # The papers subtract the logit of the unmasked picture, which cancels in the softmax.
            weights = logits[:, classes].softmax(0)  # (f, t)
            maps.append(torch.einsum("ft,fhw->thw", weights, channels).relu())
        return torch.stack(maps)  # (b, t, h, w)

    return explain

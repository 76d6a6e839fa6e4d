"""Insertion and deletion for the maps of a head; the backbone computes the features of every changed picture."""

from typing import Any

import torch
from torch import Tensor

from dataset.loaders import normalised_picture
from engine.explain.metrics.batch import upsample
from engine.explain.metrics.insertion_deletion import insertion_deletion
from sloter.backbone import FeatureModel, TimmModel, grid_features
from studies.head_study.heads import maps_of
from studies.head_study.sources import Source
from tools.console import progress

STEPS, SIGMA, BATCH = 20, 5.0, 64


class InsertionDeletion:
    """Measurement of heads on the same pictures, evenly spread over a split.

    Args:
        backbone: backbone of the features.
        source: the split.
        statistics: ``mean`` and ``std`` of the pictures that the backbone expects.
        images: number of pictures.
        device: device of the backbone.
    """

    def __init__(
        self, backbone: TimmModel, source: Source, *, statistics: dict[str, Any], images: int, device: torch.device
    ) -> None:
        self.backbone = backbone.eval().to(device)
        count = len(source.labels)
        chosen = [i * count // images for i in range(min(images, count))]
        pixels = torch.stack([source.pixels(i) for i in chosen])  # (b, 3, H, W)
        self.images = normalised_picture(pixels, **statistics).to(device)
        self.labels = torch.tensor([source.labels[i] for i in chosen], device=device)

    @torch.no_grad()
    def __call__(self, head: FeatureModel) -> dict[str, float]:
        """Mean ``iauc`` and ``dauc`` of the true classes' maps, and ``full``, the probability for whole pictures.

        Insertion ends and deletion starts at ``full``: a more confident or more accurate head is higher in both.
        """
        head.eval()

        def logits(images: Tensor) -> Tensor:
            return head(grid_features(self.backbone, images)).logits

        scores, whole = [], []
        for image, label in progress(list(zip(self.images.split(1), self.labels.split(1), strict=True)), "insertion"):
            features = grid_features(self.backbone, image)
            whole.append(head(features).logits.softmax(1)[0, label])  # (1)
            maps = maps_of(head, features)[:, label].flatten(0, 1)  # (1, h, w)
            large = upsample(maps, image.shape[-2:])
            scores.append(torch.cat(insertion_deletion(
                logits, image, large, label[:, None], steps=STEPS, sigma=SIGMA, batch_size=BATCH
            ), 1))  # fmt: skip
        inserted, deleted = torch.cat(scores).mean(0).tolist()
        return {"iauc": inserted, "dauc": deleted, "full": float(torch.cat(whole).mean())}

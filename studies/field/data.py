"""The pictures of one dataset of the study: both splits, the pictures that are measured, and the frozen backbone."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataset.loaders import DeviceLoader, build_loader
from dataset.pictures import PictureDataset
from dataset.registry import build_dataset, dataset_spec, least_similar_classes
from engine.least_similar import least_similar_by_features
from sloter.backbone import TimmModel, create_backbone
from sloter.model_names import weights_name
from sloter.weights import pretrained_statistics
from studies.head_study.content import data_fingerprint, weights_fingerprint
from studies.head_study.features import Features, load_or_compute
from studies.head_study.loader import FeatureLoader
from studies.head_study.sources import DatasetChoice, Pictures
from tools.machine import memory_format


@dataclass(frozen=True)
class Backbone:
    """Choice of the backbone.

    Attributes:
        name: model name in timm.
        weights: state dict of a file, None for timm's pretrained weights.
        source: name of the file.
        img_size: (H, W) of the pictures.
    """

    name: str
    weights: dict[str, Tensor] | None
    source: str
    img_size: tuple[int, int]

    def build(self, num_classes: int, in_chans: int) -> TimmModel:
        """Build the timm model in evaluation mode, with a classifier of its own unless ``num_classes`` is 0.

        Raises:
            ModelError: see :func:`sloter.backbone.create_backbone`.
        """
        return create_backbone(
            self.name, num_classes=num_classes, in_chans=in_chans, img_size=self.img_size,
            pretrained=self.weights is None, weights=self.weights, weights_source=self.source,
        ).eval()  # fmt: skip


def boxed(data: PictureDataset) -> PictureDataset:
    """The pictures that have boxes; all if none has."""
    found = [n for n in range(len(data)) if (boxes := data.boxes(n)) is not None and len(boxes)]
    if not found:
        return data
    return PictureDataset(
        data.listing.subset(found), img_size=data.img_size, in_chans=data.in_chans, num_classes=data.num_classes,
        bad_images=data.bad_images,
    )  # fmt: skip


class FieldData:
    """One dataset of the study.

    Raises:
        DataError: see :func:`dataset.registry.build_dataset`.
        ModelError: see :meth:`Backbone.build`.
    """

    def __init__(self, choice: DatasetChoice, backbone: Backbone, *, folder: Path, device: torch.device) -> None:
        self.choice, self.chosen, self.device, self.folder = choice, backbone, device, folder
        self.train, self.val = (
            build_dataset(
                choice.name, split, dataset_dir=choice.folder, num_classes=choice.num_classes,
                img_size=backbone.img_size,
            ).without_bad_boxes()
            for split in ("train", "val")
        )  # fmt: skip
        self.measured, self.classes, self.in_chans = boxed(self.val), self.val.num_classes, self.val.in_chans
        self.backbone = backbone.build(0, self.in_chans).to(device).to(memory_format=memory_format(True))
        self.content = [data_fingerprint(split) for split in (self.train, self.val)]
        self.weights = weights_fingerprint(self.backbone)

    @property
    def title(self) -> str:
        """Name of the dataset with its number of classes."""
        return f"{self.choice.name}, {self.classes}"

    @property
    def made_of(self) -> dict[str, Any]:
        """What every result on this dataset depends on."""
        return {"data": self.content, "model": self.chosen.name, "weights": self.weights,
                "img_size": self.chosen.img_size, "device": self.device.type}  # fmt: skip

    @property
    def statistics(self) -> dict[str, Any]:
        """``mean`` and ``std`` of the pictures: those that the weights expect; of grey ones those of the dataset."""
        spec, chosen = dataset_spec(self.choice.name), self.chosen
        own = {"mean": spec.mean, "std": spec.std}
        name = chosen.name if chosen.weights else weights_name(chosen.name)
        return own | (pretrained_statistics(name) if self.in_chans == 3 else {})

    @cached_property
    def features(self) -> tuple[Features, Features]:
        """Features of both splits, from their files or computed."""
        found = []
        for split, data, content in zip(("train", "val"), (self.train, self.val), self.content, strict=True):
            made_of = {"name": self.choice.name.lower(), "split": split, "img_size": self.chosen.img_size,
                       "model": self.chosen.name, "weights": self.weights, "content": content}  # fmt: skip
            found.append(load_or_compute(
                self.folder / "features", made_of, source=Pictures(data), backbone=self.backbone,
                statistics=self.statistics, batch_size=32, device=self.device,
            ))  # fmt: skip
        return found[0], found[1]

    def sample(self, count: int, *, seed: int) -> PictureDataset:
        """At most ``count`` of the pictures that are measured; a smaller sample is part of a larger one."""
        return self.measured.sample(count, seed=seed)

    def loader(self, data: PictureDataset, *, batch_size: int) -> DeviceLoader:
        """Batches of pictures, normalised for the backbone."""
        return build_loader(
            data, batch_size=batch_size, train=False, device=self.device, memory_format=memory_format(True),
            **self.statistics,
        )  # fmt: skip

    @cached_property
    def least_similar(self) -> list[int]:
        """The class that a negative model explains for each true class, as ``test.py`` chooses it."""
        known = least_similar_classes(self.val, None)
        if known is not None:
            return known
        loader = FeatureLoader(self.features[1], batch_size=256, shuffle=False, seed=0, device=self.device)
        return least_similar_by_features(lambda features: features, loader, self.classes)

"""Feature maps of a dataset, computed once by a frozen backbone and kept in a file."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dataset.loaders import normalised_picture
from sloter.backbone import TimmModel, grid_features
from studies.head_study.content import code_fingerprint
from studies.head_study.sources import Source
from tools.console import progress
from tools.files import write_atomically

VERSION = 3  # of the file format
# Features depend on this code, besides the data, the weights and the settings.
FEATURE_CODE = ("dataset", "sloter/backbone.py", "sloter/grid.py", "studies/head_study/features.py",
                "studies/head_study/framed.py", "studies/head_study/patterns.py",
                "studies/head_study/sources.py")  # fmt: skip


@dataclass(frozen=True)
class Features:
    """The features of one split.

    Attributes:
        maps: (N, n, f) float16, the places of the grid row by row.
        labels: (N).
        boxes: for each picture (m, 4) in pixels of the resized picture, m = 0 where it has none; None if none has any.
        grid, img_size: (h, w), (H, W).
        num_classes: c.
    """

    maps: Tensor
    labels: Tensor
    boxes: list[Tensor] | None
    grid: tuple[int, int]
    img_size: tuple[int, int]
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)


def cache_file(folder: Path, made_of: dict[str, Any]) -> Path:
    """File of the features with these settings, a hash of which, and of the code, is part of its name."""
    text = json.dumps(
        {"version": VERSION, "code": code_fingerprint(*FEATURE_CODE), **made_of}, sort_keys=True, default=str
    )
    return folder / f"{made_of['name']}_{made_of['split']}_{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"


@torch.no_grad()
def compute_features(
    backbone: TimmModel, source: Source, *, statistics: dict[str, Any], batch_size: int, device: torch.device
) -> Features:
    """Compute the feature maps of all pictures of a source, and collect their labels and boxes."""
    backbone.eval().to(device).to(memory_format=torch.channels_last)
    maps, boxes, grid = [], [], (0, 0)  # maps of the batches, boxes of the pictures
    indices = list(range(len(source.labels)))
    for start in progress(range(0, len(indices), batch_size), "features"):
        chunk = indices[start : start + batch_size]
        pixels = []
        for index in chunk:
            pixels.append(source.pixels(index))
            box = source.boxes(index)
            boxes.append(torch.zeros(0, 4) if box is None else box)
        images = normalised_picture(torch.stack(pixels), **statistics).to(device)
        features = grid_features(backbone, images.to(memory_format=torch.channels_last)).float()  # (b, f, h, w)
        grid = features.shape[2], features.shape[3]
        maps.append(features.flatten(2).transpose(1, 2).half().cpu())  # (b, n, f)
    return Features(
        torch.cat(maps), torch.tensor(source.labels), boxes if any(map(len, boxes)) else None, grid,
        source.img_size, source.num_classes,
    )  # fmt: skip


def load_or_compute(
    folder: Path, made_of: dict[str, Any], *, source: Source, backbone: TimmModel, **options: Any
) -> Features:
    """Read features from their file; compute and write them first if there is none.

    Args:
        folder: that holds the files.
        made_of: settings, data and weights that change the features; ``name`` and ``split`` name the file.
        source, backbone, options: see :func:`compute_features`.
    """
    path = cache_file(folder, made_of)
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save(path, compute_features(backbone, source, **options))
    return load(path)


def save(path: Path, features: Features) -> None:
    """Write features as one safetensors file."""
    tensors = {"maps": features.maps.contiguous(), "labels": features.labels}
    if features.boxes is not None:
        tensors["boxes"] = torch.cat(features.boxes)
        tensors["box_counts"] = torch.tensor([len(box) for box in features.boxes])
    about = {"grid": features.grid, "img_size": features.img_size, "num_classes": features.num_classes}
    write_atomically(path, safetensors.torch.save(tensors, metadata={"about": json.dumps(about)}))


def load(path: Path) -> Features:
    """Read features that :func:`save` wrote."""
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    boxes = None
    if "boxes" in tensors:
        boxes = list(tensors["boxes"].split(tensors["box_counts"].tolist()))
    return Features(
        tensors["maps"], tensors["labels"], boxes, tuple(about["grid"]), tuple(about["img_size"]),
        about["num_classes"],
    )  # fmt: skip

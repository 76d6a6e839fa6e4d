"""How fast pictures become batches: reading alone, resizing, our loader, and the published code's pipeline."""

import argparse
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from args import data_config
from dataset.cache import cache_pictures
from dataset.loaders import build_loader, usable_workers
from dataset.pictures import PictureDataset, open_picture
from dataset.registry import build_dataset, dataset_spec
from dataset.transforms import augmentation
from studies.benchmark.timing import seconds_each

PICTURES = {True: 256, False: 1024}  # measured, with --quick and without
ROUNDS = {True: 2, False: 7}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pipeline(Dataset[Any]):
    """The samples of a dataset by some other way, for comparison."""

    def __init__(self, data: PictureDataset, way: str) -> None:
        self.data, self.way = data, way

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Any, int]:
        index = item[0]
        return WAYS[self.way](self.data, index), self.data.listing.labels[index]


def decoded(data: PictureDataset, index: int) -> int:
    """Opened and decoded at its own size, nothing more."""
    return _full_size(data, index).width


def pillow(data: PictureDataset, index: int) -> Tensor:
    """Resized by Pillow, bilinear and antialiased as ours, kept as uint8."""
    small = _full_size(data, index).resize(data.img_size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small))


def published(data: PictureDataset, index: int) -> Tensor:
    """As the published code does it: resized by Pillow, then normalised picture by picture in double precision."""
    small = _full_size(data, index).resize(data.img_size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(small).astype(np.float64) / 255
    planes = torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None]).permute(2, 0, 1)
    mean, std = (torch.tensor(v[: data.in_chans], dtype=torch.float64).view(-1, 1, 1) for v in (MEAN, STD))
    return (planes - mean) / std


WAYS = {"decode": decoded, "resize": pillow, "published": published}


def _full_size(data: PictureDataset, index: int) -> Image.Image:
    source = data.listing.pictures[index]
    return data.picture(index) if isinstance(source, np.ndarray) else open_picture(source, data.in_chans)


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Pictures a second of each way to load the training pictures of ``--dataset``."""
    config = data_config(run, first_classes=dataset_spec(run.dataset).first_classes)

    def training_set(**options: Any) -> PictureDataset:
        data = build_dataset(run.dataset, "train", **config, **options)
        chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(run.seed))[: PICTURES[run.quick]]
        data.listing = data.listing.subset(chosen.sort().values.tolist())
        return data

    plain, cached, augmented = training_set(), training_set(), training_set()
    augmented.augment = augmentation(run.img_size, paper=True)
    workers = usable_workers(run.num_workers)
    cache_pictures([cached], workers=workers)
    common = {"batch_size": run.batch_size, "num_workers": workers, "persistent_workers": workers > 0}
    sampler = [(index, 0) for index in range(len(plain))]
    loaders: dict[str, Iterable[Any]] = {
        name: DataLoader(Pipeline(plain, way), sampler=sampler, **common)
        for name, way in (
            ("decode", "decode"),
            ("decode, Pillow resize", "resize"),
            ("published pipeline", "published"),
        )
    }
    ours = {"our loader": plain, "our loader, --aug true": augmented, "our loader, --cache ram": cached}
    for name, data in ours.items():
        loaders[name] = build_loader(
            data, batch_size=run.batch_size, train=False, device=device, mean=MEAN[: data.in_chans],
            std=STD[: data.in_chans], num_workers=workers,
            memory_format=torch.channels_last if run.channels_last else torch.contiguous_format,
        )  # fmt: skip

    def through(name: str, loader: Iterable[Any]) -> None:
        for batch in loader:
            if name == "published pipeline":  # ours are on the device in single precision, which models take
                batch[0].to(device, torch.float32)

    passes = {name: partial(through, name, loader) for name, loader in loaders.items()}
    seconds = seconds_each(passes, rounds=ROUNDS[run.quick], title="data", device=device)
    base = seconds["published pipeline"]
    return [
        {"data": name, "pictures/s": len(plain) / taken, "times published": base / taken}
        for name, taken in seconds.items()
    ]

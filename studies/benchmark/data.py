"""Speed of loading: decoding alone, resizing, our loader, and the published code's pipeline."""

import argparse
from collections.abc import Callable, Iterable
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

PICTURES = {True: 256, False: 1024}  # number of measured pictures, with --quick and without
ROUNDS = {True: 2, False: 7}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pipeline(Dataset[Any]):
    """The samples of a dataset as another pipeline loads them."""

    def __init__(self, data: PictureDataset, load: Callable[[PictureDataset, int], Any]) -> None:
        self.data, self.load = data, load

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: tuple[int, int]) -> tuple[Any, int]:
        index = item[0]
        return self.load(self.data, index), self.data.listing.labels[index]


def decoded(data: PictureDataset, index: int) -> int:
    """Decode a picture at its own size, without any other step."""
    return _full_size(data, index).width


def resized(data: PictureDataset, index: int) -> Tensor:
    """Resize by Pillow, bilinear and antialiased as ours, and keep uint8."""
    small = _full_size(data, index).resize(data.img_size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small))


def published(data: PictureDataset, index: int) -> Tensor:
    """Load as the published code does: resize by Pillow, then normalise each picture in double precision."""
    small = _full_size(data, index).resize(data.img_size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(small).astype(np.float64) / 255
    planes = torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None]).permute(2, 0, 1)
    mean, std = (torch.tensor(v[: data.in_chans], dtype=torch.float64).view(-1, 1, 1) for v in (MEAN, STD))
    return (planes - mean) / std


PIPELINES = {"decode": decoded, "decode, Pillow resize": resized, "published pipeline": published}


def _full_size(data: PictureDataset, index: int) -> Image.Image:
    source = data.listing.pictures[index]
    return data.picture(index) if isinstance(source, np.ndarray) else open_picture(source, data.in_chans)


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure each way to load the training pictures of ``--dataset``; returns rows of a table."""
    plain, cached, augmented = training_set(run), training_set(run), training_set(run)
    augmented.augment = augmentation(run.img_size, augment=True)
    workers = usable_workers(run.num_workers)
    cache_pictures([cached], workers=workers)
    loaders = other_loaders(run, plain, workers)
    ours = {"our loader": plain, "our loader, --aug true": augmented, "our loader, --cache ram": cached}
    for name, data in ours.items():
        loaders[name] = build_loader(
            data, batch_size=run.batch_size, train=False, device=device, mean=MEAN[: data.in_chans],
            std=STD[: data.in_chans], num_workers=workers,
            memory_format=torch.channels_last if run.channels_last else torch.contiguous_format,
        )  # fmt: skip
    passes = {name: partial(load_all, name, loader, device) for name, loader in loaders.items()}
    seconds = seconds_each(passes, rounds=ROUNDS[run.quick], title="data", device=device)
    base = seconds["published pipeline"]
    return [
        {"data": name, "pictures/s": len(plain) / taken, "times published": base / taken}
        for name, taken in seconds.items()
    ]


def training_set(run: argparse.Namespace) -> PictureDataset:
    """Some training pictures of ``--dataset``, drawn at random."""
    config = data_config(run, first_classes=dataset_spec(run.dataset).first_classes)
    data = build_dataset(run.dataset, "train", **config)
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(run.seed))[: PICTURES[run.quick]]
    data.listing = data.listing.subset(chosen.sort().values.tolist())
    return data


def other_loaders(run: argparse.Namespace, data: PictureDataset, workers: int) -> dict[str, Iterable[Any]]:
    """PyTorch's loader with each pipeline that ours is compared with."""
    common = {"batch_size": run.batch_size, "num_workers": workers, "persistent_workers": workers > 0}
    sampler = [(index, 0) for index in range(len(data))]
    return {name: DataLoader(Pipeline(data, load), sampler=sampler, **common) for name, load in PIPELINES.items()}


def load_all(name: str, loader: Iterable[Any], device: torch.device) -> None:
    """Load every batch once."""
    for batch in loader:
        if name == "published pipeline":  # ours are on the device in single precision, which models take
            batch[0].to(device, torch.float32)

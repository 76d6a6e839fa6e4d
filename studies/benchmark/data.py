"""Speed of loading: decoding alone, resizing, our loader, and the pipelines of the published code and torchvision."""

import argparse
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from args import data_config
from dataset.cache import cache_pictures, free_shared_memory
from dataset.loaders import build_loader, usable_workers
from dataset.pictures import PictureDataset, open_picture
from dataset.registry import build_dataset, dataset_spec
from dataset.transforms import BILINEAR, augmentation
from studies.benchmark.timing import seconds_each
from tools.memory_limits import free_memory

PICTURES = {True: 256, False: 1024}  # number of measured pictures, with --quick and without
ROUNDS = {True: 2, False: 7}
AUGMENTED = {
    "our loader, --aug true": lambda: augmentation(augment=True),
    "our loader, --aug_policy trivial": lambda: augmentation(augment=False, policies=["trivial"]),
    "our loader, --aug_policy erasing": lambda: augmentation(augment=False, policies=["erasing"]),
}
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


@cache
def transforms_of_torchvision(img_size: tuple[int, int], in_chans: int, augment: bool) -> v2.Compose:
    """Resize, augment as ``--aug true``, and normalise a picture by torchvision's transforms, as its recipes do."""
    steps: list[v2.Transform] = [v2.ToImage(), v2.Resize(img_size, antialias=True)]
    if augment:
        steps += [
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomApply([v2.RandomAffine(10, translate=(0.1, 0.1), scale=(0.8, 1), interpolation=BILINEAR)]),
            v2.RandomApply([v2.GaussianBlur(min(19, 2 * min(img_size) - 1), sigma=(0.1, 3.0))]),
        ]
    normalise = v2.Normalize(MEAN[:in_chans], STD[:in_chans])
    return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), normalise])


def torchvision_pipeline(data: PictureDataset, index: int, *, augment: bool = False) -> Tensor:
    """Load as a script that uses torchvision would: every step on single pictures."""
    return transforms_of_torchvision(data.img_size, data.in_chans, augment)(_full_size(data, index))


PIPELINES: dict[str, Callable[[PictureDataset, int], Any]] = {
    "decode": decoded,
    "decode, Pillow resize": resized,
    "published pipeline": published,
    "torchvision": torchvision_pipeline,
    "torchvision, augmented": partial(torchvision_pipeline, augment=True),
}


def _full_size(data: PictureDataset, index: int) -> Image.Image:
    source = data.listing.pictures[index]
    return data.picture(index) if isinstance(source, np.ndarray) else open_picture(source, data.in_chans)


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure each way to load the training pictures of ``--dataset``; returns rows of a table.

    Seconds are those of this process on a core, or of a clock where workers or a GPU share the work.
    """
    ours = {"our loader": training_set(run)}
    for name, augment in AUGMENTED.items():
        ours[name] = training_set(run)
        ours[name].augment = augment()
    ours["our loader, --cache ram"] = training_set(run)
    workers = usable_workers(run.num_workers)
    cache_pictures([ours["our loader, --cache ram"]], workers=workers, free=free_memory(),
                   shared=free_shared_memory())  # fmt: skip
    loaders = other_loaders(run, ours["our loader"], workers)
    for name, data in ours.items():
        loaders[name] = build_loader(
            data, batch_size=run.batch_size, train=False, device=device, mean=MEAN[: data.in_chans],
            std=STD[: data.in_chans], num_workers=workers,
            memory_format=torch.channels_last if run.channels_last else torch.contiguous_format,
        )  # fmt: skip
    passes = {name: partial(load_all, name, loader, device) for name, loader in loaders.items()}
    alone = not workers and device.type == "cpu"
    seconds = seconds_each(
        passes, rounds=ROUNDS[run.quick], title="data", device=device,
        clock=time.process_time if alone else time.perf_counter,
    )  # fmt: skip
    published, plain, augmented = (seconds[f] for f in ("published pipeline", "torchvision", "torchvision, augmented"))
    count = len(ours["our loader"])
    return [
        {
            "data": name, "pictures/s": count / taken, "CPU ms" if alone else "ms": taken / count * 1000,
            "times published": published / taken, "times torchvision": plain / taken,
            "times torchvision, augmented": augmented / taken,
        }
        for name, taken in seconds.items()
    ]  # fmt: skip


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

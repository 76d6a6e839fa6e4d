"""Loaders of normalised batches on the device, in the same order for any number of processes and workers."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torchvision.transforms.v2 import Transform

from dataset import DataError
from dataset.changes import change_pixels, to_device
from dataset.collate import Stack, collate_usable
from dataset.collate import collate as collate
from dataset.pictures import PictureDataset, reason
from dataset.workers import blocked_signals, tie_to_parent, usable_workers

logger = logging.getLogger(__name__)

MAX_FAILED_IN_NOTE = 5


class Batch(NamedTuple):
    """Batch of pictures on the device, as training and evaluation use it."""

    images: Tensor  # (b, ch, H, W) float, normalised
    labels: Tensor  # (b), or (b, c), shares of the classes, if pictures are mixed
    numbers: Tensor  # (b), indices of the pictures in the dataset


class EpochSampler(Sampler[tuple[int, int]]):
    """Sampler of one process: yields the index of a sample and the seed of its augmentation.

    With ``shuffle`` all processes get the same number of samples, and the remainder is left out; without it, every
    sample belongs to exactly one process.
    """

    def __init__(self, size: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.size, self.shuffle, self.seed = size, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.skip = 0

    def __len__(self) -> int:
        return len(range(self.skip + self.rank, self._end(), self.world_size))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        order = torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size)
        seeds = torch.randint(2**62, (self.size,), generator=generator)
        for position in range(self.skip + self.rank, self._end(), self.world_size):
            index = int(order[position])
            yield index, int(seeds[index])

    def _end(self) -> int:
        rest = self.size - self.skip  # the number of processes may differ from that before the interruption
        return self.skip + rest // self.world_size * self.world_size if self.shuffle else self.size


class DeviceLoader:
    """Loader that moves uint8 batches to the device, applies what is planned for them there, normalises and mixes them.

    A picture that passed the check of its file but cannot be decoded is an error that names it or, with ``bad_images``
    ``skip`` of the dataset, left out: evaluation goes on without it, and another picture of the batch, or else another
    batch, takes its place in training. One line after the epoch says how many were left out, in all processes.
    """

    def __init__(
        self,
        loader: DataLoader,
        sampler: EpochSampler,
        *,
        device: torch.device,
        mean: Tensor,
        std: Tensor,
        mixing: Transform | None = None,
        gather: Callable[[list[Any]], list[Any]] | None = None,
    ) -> None:
        # Processes that share the dataset all come to the end of an epoch; only then may they wait for each other.
        self.gather = gather if gather and sampler.world_size > 1 else lambda items: items
        self.loader, self.sampler, self.device = loader, sampler, device
        self.mean, self.std = mean.to(device), std.to(device)
        self.mixing = mixing
        self.started = False
        self.failed: dict[int, str] = {}  # number of each picture that could not be decoded, and the reason

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def dataset(self) -> PictureDataset:
        """Dataset from which the batches are loaded."""
        return self.loader.dataset  # type: ignore[return-value]

    def __iter__(self) -> Iterator[Batch]:
        known, images_loaded = len(self.failed), False
        for batch in self._usable():
            images_loaded = True
            images = images_on(self.device, batch, mean=self.mean, std=self.std)
            labels = batch.labels.to(self.device, non_blocking=True)
            if self.mixing is not None:
                images, labels = self.mixing(images, labels)
            yield Batch(images, labels, batch.numbers)
        if self.dataset.bad_images == "skip":
            parts = self.gather([(self.failed, images_loaded)])
            self.failed = {number: reason for failed, _ in parts for number, reason in failed.items()}
            images_loaded = any(loaded for _, loaded in parts)
        if self.failed and not images_loaded:
            raise DataError(f"none of the pictures can be decoded: {next(iter(self.failed.values()))}; repair them")
        if len(self.failed) > known:
            first = ", ".join(list(self.failed.values())[known : known + MAX_FAILED_IN_NOTE])
            logger.warning("%d of %d pictures cannot be decoded and are left out: %s", len(self.failed),
                           len(self.dataset), first)  # fmt: skip

    def _usable(self) -> Iterator[Stack]:
        """Batches of an epoch without the pictures that cannot be decoded.

        In training the batch before, or after, takes the place of one of which nothing is left: all processes have the
        same number of steps, or they would wait for each other without an end.

        Raises:
            DataError: in training, none of this process's pictures can be decoded; or see :meth:`_leave_out`.
        """
        last, owed = None, 0
        for batch, failed in self._start():
            self._leave_out(failed)
            owed += batch is not None or self.sampler.shuffle
            last = last if batch is None else batch
            while last is not None and owed:
                yield last
                owed -= 1
        if owed:
            raise DataError(f"none of the pictures can be decoded: {next(iter(self.failed.values()))}; repair them")

    def _leave_out(self, failed: list[tuple[int, str]]) -> None:
        """Remember pictures that cannot be decoded.

        Raises:
            DataError: there are some, and they are not to be skipped.
        """
        if failed and self.dataset.bad_images == "error":
            raise DataError(f"{failed[0][1]}; repair or remove it, or give --bad_images skip")
        self.failed |= failed

    def _start(self) -> Iterator[tuple[Stack | None, list[tuple[int, str]]]]:
        """Start an epoch; the first also starts the workers, with signals blocked until each worker ignores them."""
        if self.started or not self.loader.num_workers:
            return iter(self.loader)
        try:
            with blocked_signals():  # workers inherit this
                return iter(self.loader)
        except OSError as error:  # no shared memory, or a limit of the system
            raise DataError(f"--num_workers {self.loader.num_workers}: the processes that load pictures cannot be "
                            f"started ({reason(error)}); give a smaller number, or 0") from error  # fmt: skip
        finally:
            self.started = True

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Set the epoch, which determines order and augmentation, and skip its first ``skip`` pictures.

        Args:
            epoch: number of the epoch.
            skip: number of pictures to skip, counted over all processes.
        """
        self.sampler.epoch, self.sampler.skip = epoch, skip


def images_on(device: torch.device, batch: Stack, *, mean: Tensor, std: Tensor) -> Tensor:
    """Copy the images of a batch to the device, apply what is planned for them, and normalise them."""
    pixels = batch.images.to(device, non_blocking=True)
    if batch.plan is not None:
        pixels = change_pixels(pixels, to_device(batch.plan, device))
    return normalise(pixels, mean, std)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise pictures (..., ch, H, W) of values to 255 with the statistics (ch, 1, 1) of values in [0, 1].

    Batches keep their memory format. All steps after the conversion to float are in place, since allocating memory for
    each step would take longer than the steps.
    """
    if images.ndim == 4 and not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last):
        rows = images.permute(0, 2, 3, 1).flatten(2)  # (b, H, W * ch): long rows, since rows of length ch would be slow
        width = images.shape[3]
        floats = rows.to(torch.float32, copy=True).div_(255)
        floats = floats.sub_(mean.flatten().repeat(width)).div_(std.flatten().repeat(width))
        return floats.unflatten(2, (width, -1)).permute(0, 3, 1, 2)  # (b, ch, H, W)
    return images.contiguous().to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)


def normalised_picture(pixels: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalise a picture (..., ch, H, W) uint8 on its device, with statistics of ch values each."""
    return normalise(pixels, *(torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in (mean, std)))


def build_loader(
    dataset: PictureDataset,
    *,
    batch_size: int,
    train: bool,
    device: torch.device,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    num_workers: int = 0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    memory_format: torch.memory_format = torch.contiguous_format,
    mixing: Transform | None = None,
    gather: Callable[[list[Any]], list[Any]] | None = None,
) -> DeviceLoader:
    """Build a loader for training (shuffled, whole batches only) or evaluation (in order, every sample once).

    A training set that is smaller than a batch is loaded as one batch, with a warning.

    Args:
        dataset: the samples.
        batch_size: pictures of a batch of this process.
        train: whether the loader is for training.
        device: device of the batches.
        mean, std: statistics of the channels, for values in [0, 1].
        num_workers: number of workers; at most one per core is started.
        seed: seed of order and augmentation.
        rank, world_size: index of this process, and the number of processes that share the dataset.
        memory_format: memory format of the images.
        mixing: transform of whole batches on the device, see :func:`dataset.transforms.batch_mixing`.
        gather: returns the items of all processes from those of this one; None for a single process.

    Raises:
        DataError: the dataset is empty, or has fewer pictures than there are processes.
    """
    split = "training" if train else "validation"
    if not len(dataset):
        raise DataError(f"there are no {split} pictures of the classes asked for: check --dataset_dir and "
                        "--num_classes")  # fmt: skip
    sampler = EpochSampler(len(dataset), shuffle=train, seed=seed, rank=rank, world_size=world_size)
    if train and not len(sampler):
        raise DataError(f"{len(dataset)} training pictures cannot be shared by {world_size} processes: start fewer")
    whole_batches = train and len(sampler) >= batch_size
    if train and not whole_batches:
        logger.warning("less than a batch of %d: each epoch is one batch of %d pictures", batch_size, len(sampler))
    loader = _torch_loader(
        dataset, sampler, batch_size=batch_size, drop_last=whole_batches, num_workers=usable_workers(num_workers),
        on_gpu=device.type == "cuda", memory_format=memory_format,
    )  # fmt: skip
    mean_, std_ = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))  # (ch, 1, 1) each
    return DeviceLoader(loader, sampler, device=device, mean=mean_, std=std_, mixing=mixing, gather=gather)


def _torch_loader(
    dataset: PictureDataset, sampler: EpochSampler, *, batch_size: int, drop_last: bool, num_workers: int,
    on_gpu: bool, memory_format: torch.memory_format,
) -> DataLoader:  # fmt: skip
    """Build torch's loader of the uint8 batches, which a GPU then changes; its workers end with this process."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=drop_last,
        pin_memory=on_gpu,
        collate_fn=partial(collate_usable, memory_format=memory_format, fill=sampler.shuffle, change=not on_gpu),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=partial(tie_to_parent, os.getpid()),
        # The workers' base seed is drawn when they start: not from the global state, which an epoch sets for the model.
        generator=torch.Generator(),
    )

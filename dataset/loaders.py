"""Batches on the device: the same order for a seed and an epoch, however many processes and workers make them."""

import ctypes
import logging
import multiprocessing
import multiprocessing.queues
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torchvision.transforms.v2 import Transform

from dataset import DataError
from dataset.pictures import PictureDataset, Sample

logger = logging.getLogger(__name__)

LEFT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # signals that workers leave to their parent
PR_SET_PDEATHSIG = 1  # prctl(2): the signal that the system sends when the parent ends


class Batch(NamedTuple):
    """What the loops see."""

    images: Tensor  # (b, ch, H, W) float, normalised
    labels: Tensor  # (b), or (b, c) shares of the classes where pictures are mixed
    numbers: Tensor  # (b), of the pictures in the dataset


class EpochSampler(Sampler[tuple[int, int]]):
    """The share of one process: pairs of an index and the seed of its augmentation.

    Shuffled, each process gets the same number and a rest is left out; in order, every sample is somewhere
    exactly once.
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
        for place in range(self.skip + self.rank, self._end(), self.world_size):
            index = int(order[place])
            yield index, int(seeds[index])

    def _end(self) -> int:
        rest = self.size - self.skip  # shared anew: a run may go on with other processes than it was left with
        return self.skip + rest // self.world_size * self.world_size if self.shuffle else self.size


def collate(
    samples: list[Sample], memory_format: torch.memory_format = torch.contiguous_format
) -> tuple[Tensor, Tensor, Tensor]:
    """Images (b, ch, H, W) uint8 in a memory format, labels (b), numbers (b).

    Pictures are decoded channels-last: left so, or put in planes by the workers, who are many, as bytes, which are few.
    """
    if memory_format == torch.channels_last:
        images = torch.stack([s.image.permute(1, 2, 0) for s in samples]).permute(0, 3, 1, 2)  # (b, ch, H, W)
    else:
        images = torch.stack([s.image for s in samples])  # (b, ch, H, W)
    return images, torch.tensor([s.label for s in samples]), torch.tensor([s.number for s in samples])


class DeviceLoader:
    """Moves the uint8 batches of a loader to the device; normalises and, in training, mixes them there."""

    def __init__(
        self,
        loader: DataLoader,
        sampler: EpochSampler,
        *,
        device: torch.device,
        mean: Tensor,
        std: Tensor,
        mixing: Transform | None = None,
    ) -> None:
        self.loader, self.sampler, self.device = loader, sampler, device
        self.mean, self.std = mean.to(device), std.to(device)
        self.mixing = mixing
        self.started = False

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def dataset(self) -> PictureDataset:
        """What is loaded."""
        return self.loader.dataset  # type: ignore[return-value]

    def __iter__(self) -> Iterator[Batch]:
        for pixels, classes, numbers in self._start():
            pixels = pixels.to(self.device, non_blocking=True)
            images = normalise(pixels, self.mean, self.std)
            labels = classes.to(self.device, non_blocking=True)
            if self.mixing is not None:
                images, labels = self.mixing(images, labels)
            yield Batch(images, labels, numbers)

    def _start(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Begin an epoch, in the first one with workers that Ctrl-C cannot reach while they are still starting."""
        if self.started or not self.loader.num_workers:
            return iter(self.loader)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT)  # workers inherit that
        try:
            return iter(self.loader)
        finally:
            self.started = True
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Choose the order and the augmentation of an epoch, without its first ``skip`` pictures of all processes."""
        self.sampler.epoch, self.sampler.skip = epoch, skip


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(..., ch, H, W) uint8 to float with the given statistics of values in [0, 1], each (ch, 1, 1).

    Batches that are channels-last stay so. Everything happens in place, as fresh memory for each step would take longer
    than the steps.
    """
    if images.ndim == 4 and not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last):
        rows = images.permute(0, 2, 3, 1).flatten(2)  # (b, H, W * ch): long runs, since ch alone would be slow
        width = images.shape[3]
        floats = rows.to(torch.float32).div_(255)
        floats = floats.sub_(mean.flatten().repeat(width)).div_(std.flatten().repeat(width))
        return floats.unflatten(2, (width, -1)).permute(0, 3, 1, 2)  # (b, ch, H, W)
    return images.contiguous().to(torch.float32).div_(255).sub_(mean).div_(std)


def normalised_picture(pixels: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(..., ch, H, W) uint8 to float, with statistics of ch values each, on the picture's device."""
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
) -> DeviceLoader:
    """A loader for training (shuffled, whole batches only) or evaluation (in order, every sample once).

    A training set smaller than a batch is trained as one batch, and said so. ``memory_format`` is that of the
    batches, ``mixing`` what is done to them on the device (:func:`dataset.transforms.batch_mixing`).

    Raises:
        DataError: the dataset is empty.
    """
    if not len(dataset):
        raise DataError(f"there are no {'training' if train else 'validation'} pictures of the classes asked for")
    sampler = EpochSampler(len(dataset), shuffle=train, seed=seed, rank=rank, world_size=world_size)
    whole = train and len(sampler) >= batch_size
    if train and not len(sampler):
        raise DataError(f"{len(dataset)} training pictures cannot be shared by {world_size} processes")
    if train and not whole:
        logger.warning("less than a batch of %d: each epoch is one batch of %d pictures", batch_size, len(sampler))
    workers = usable_workers(num_workers)
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=whole,
        collate_fn=partial(collate, memory_format=memory_format),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=partial(_belong_to_the_parent, os.getpid()),
        # Its workers' seeds are drawn when they start, so not from the global state, which an epoch sets for the model.
        generator=torch.Generator(),
    )
    shape = (-1, 1, 1)
    return DeviceLoader(
        loader, sampler, device=device, mean=torch.tensor(mean).view(shape), std=torch.tensor(std).view(shape),
        mixing=mixing,
    )  # fmt: skip


def _belong_to_the_parent(parent: int, worker: int) -> None:
    """Set up a worker to live and to end with the process that it loads for.

    Args:
        parent: that process.
        worker: number of the worker, which torch gives.
    """
    # A signal to the whole group of processes is for the one that knows what to save; it ends its workers after that.
    for number in LEFT:
        signal.signal(number, signal.SIG_IGN)
    # In place of torch's handlers, which write a line each: the parent says what has happened.
    for number in (signal.SIGBUS, signal.SIGSEGV, signal.SIGFPE):
        signal.signal(number, signal.SIG_DFL)
    # A batch that cannot be sent would be lost with a traceback, and the parent would wait for it for ever.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_unsent)  # type: ignore[attr-defined]
    # torch looks every 5 s whether the parent is there, between two batches; the system does so in the midst of one.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if multiprocessing.get_start_method() == "fork" and os.getppid() != parent:
            os._exit(1)  # it was gone before


def _end_unsent(error: Exception, batch: object) -> None:
    """Called in a worker, in the thread that sends the batches, when it could not send one."""
    os._exit(1)


def usable_workers(num_workers: int) -> int:
    """So many processes load: more than there are cores would only wait for each other."""
    return min(num_workers, os.cpu_count() or 1)

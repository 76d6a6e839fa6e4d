"""Training by different numbers of threads and loading processes: pictures per second, with loading."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dataset.loaders import DeviceLoader, build_loader
from studies.benchmark.data import MEAN, STD, training_set
from studies.benchmark.steps import Variant, model, training_step
from studies.benchmark.timing import seconds_each
from tools.cores import division
from tools.distributed.launch import cores

BATCHES = {True: 3, False: 8}  # of a pass over the pictures
ROUNDS = {True: 2, False: 9}
TOO_MANY = 4  # times as many threads as cores, as PyTorch has under a quota that it does not read


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Measure passes over pictures of ``--dataset`` with each division of the cores in turn; returns table rows."""
    own = cores()
    chosen = division(own, threads=None, workers=None, on_cpu=device.type == "cpu")
    divisions = [chosen, (own, 0), (own, 1), (own, own), (max(1, own - 1), 1)]
    divisions += [] if run.quick else [(TOO_MANY * own, own)]
    data = training_set(run)
    data.listing = data.listing.subset(range(min(len(data), BATCHES[run.quick] * run.batch_size)))
    variant = Variant("", channels_last=run.channels_last)
    built = model(run, device, variant, data.num_classes, use_slot=True)
    step = training_step(run, device, variant, built)
    build = partial(
        build_loader, data, batch_size=run.batch_size, train=False, device=device, mean=MEAN[: data.in_chans],
        std=STD[: data.in_chans],
        memory_format=torch.channels_last if run.channels_last else torch.contiguous_format,
    )  # fmt: skip
    loaders = {key: build(num_workers=key[1]) for key in dict.fromkeys(map(tuple, divisions))}
    passes = {str(key): partial(train, key[0], loader, step) for key, loader in loaders.items()}
    before = torch.get_num_threads()
    seconds = seconds_each(passes, rounds=ROUNDS[run.quick], title="cores", device=device)
    torch.set_num_threads(before)
    base = seconds[str(tuple(chosen))]
    return [
        {"cores": own, "threads": key[0], "workers": key[1], "pictures/s": len(data) / seconds[str(key)],
         "of --num_workers auto": base / seconds[str(key)]}
        for key in loaders
    ]  # fmt: skip


def train(threads: int, loader: DeviceLoader, step: Callable[[Tensor, Tensor], None]) -> None:
    """Train on every batch once, with this number of threads."""
    torch.set_num_threads(threads)
    for batch in loader:
        step(batch.images.expand(-1, 3, -1, -1), batch.labels)

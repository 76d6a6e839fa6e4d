"""Opening lines of a training run: model, data, and hints on what to change."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset import Listing
from dataset.balance import imbalance
from dataset.pictures import PictureDataset
from engine.cost import parameters
from engine.session import Session
from sloter.backbone import FeatureModel
from tools import ToolError, distributed
from tools.console import say
from tools.run_folder import changes

logger = logging.getLogger("train")

MIN_CLASSES_FOR_HINT = 50  # the published form is known to lose accuracy from this number on


def check_same_pictures(train_set: PictureDataset, val_set: PictureDataset) -> None:
    """Compare the pictures of all processes, by name and label; each of them must call it.

    Raises:
        ToolError: they differ, so that some pictures would be left out, or have another class, without a trace.
    """
    if not distributed.active():
        return
    found = distributed.gather([tuple((len(data), _digest(data.listing)) for data in (train_set, val_set))])
    if len(set(found)) > 1:
        numbers = ", ".join(f"{train} and {val}" for (train, _), (val, _) in found)
        raise ToolError(f"the processes see different pictures ({numbers} for training and validation): all of them "
                        "must see the same files in --dataset_dir")  # fmt: skip


def _digest(listing: Listing) -> str:
    """Digest of the labels of a split and of the names of its files."""
    return hashlib.blake2b(repr(_names(listing)).encode(errors="surrogateescape")).hexdigest()


def _names(listing: Listing) -> list[tuple[str, int]]:
    """Name of the file and label of each picture; pictures in memory have no name."""
    in_memory = isinstance(listing.pictures, np.ndarray)
    names = [""] * len(listing.labels) if in_memory else [Path(path).name for path in listing.pictures]
    return list(zip(names, listing.labels, strict=True))


def fingerprint_of_all(*splits: PictureDataset) -> str:
    """Twelve hexadecimal digits of the names and labels of the pictures of all splits, however they are divided."""
    names = [each for data in splits for each in _names(data.listing)]
    return hashlib.blake2b(repr(sorted(names)).encode(errors="surrogateescape"), digest_size=6).hexdigest()


def announce(
    name: str, model: FeatureModel, train_set: PictureDataset, val_set: PictureDataset, *, device: torch.device,
    configs: Mapping[str, Any], resumed: bool, weighted: bool,
) -> None:  # fmt: skip
    """Print the model and the data of a run; called before anything that takes long, such as the initial slots.

    Args:
        name: name of the run.
        model: the model.
        train_set, val_set: its pictures.
        device: device of the model.
        configs: ``model_config`` and ``initial_weights`` of the checkpoint.
        resumed: whether the run continues a checkpoint.
        weighted: whether the loss weights the classes.
    """
    c, world = train_set.num_classes, distributed.world_size()
    processes = f", {world} processes" if distributed.active() else ""
    say(f"{name}: {len(train_set)} training and {len(val_set)} validation pictures, {c} classes, "
        f"{parameters(model)[0]:,} trainable parameters, {device.type}{processes}")  # fmt: skip
    if not resumed and (source := configs["initial_weights"]):
        say(f"initial weights of the backbone: {source}")
    if train_set.listing.source:
        left = train_set.listing.left_for_testing
        rest = f"; {left} is left for testing: test.py --split test" if left else ""
        say(f"training on {train_set.listing.source}, validation on {val_set.listing.source}{rest}")
    if configs["model_config"].get("attention") == "paper" and c >= MIN_CLASSES_FOR_HINT:
        logger.warning("%d classes: the published form of attention loses accuracy from about %d classes on; try "
                       "@recipes/direct.txt", c, MIN_CLASSES_FOR_HINT)  # fmt: skip
    if note := imbalance(train_set):
        say(f"{note}; {'weighted in the loss' if weighted else '--class_weights balanced weights them in the loss'}")


def announce_start(session: Session, *, batch_size: int, resumed: Mapping[str, Any] | None) -> None:
    """Print where the training of a run starts.

    Args:
        session: the run.
        batch_size: pictures per step and process.
        resumed: ``train_config`` of the checkpoint that the run continues; None for a new run.
    """
    stopped, options, world = session.stopped, session.options, distributed.world_size()
    if resumed is not None:
        where = f"{stopped['images']} pictures into epoch {session.start + 1}" if stopped else f"epoch {session.start}"
        say(f"continuing from {where}{changes(resumed, session.configs['train_config'])}")
    if world > 1:
        batch = batch_size * options.accum_steps
        logger.warning("global batch %d x %d = %d pictures; --lr stays %g, scaled linearly it would be %g",
                       batch, world, batch * world, options.lr, options.lr * world)  # fmt: skip
    if session.start >= options.epochs:
        say(f"all {options.epochs} epochs are done; give a larger --epochs to continue")

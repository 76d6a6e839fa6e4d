"""Opening lines of a training run: model, data, and hints on what to change."""

import logging
from collections.abc import Mapping
from typing import Any

from dataset.balance import imbalance
from dataset.pictures import PictureDataset
from engine.cost import parameters
from engine.session import Session
from tools import distributed
from tools.console import say
from tools.run_folder import changes

logger = logging.getLogger("train")

MIN_CLASSES_FOR_HINT = 50  # the published form is known to lose accuracy from this number on


def announce(
    session: Session, train_set: PictureDataset, val_set: PictureDataset, *, batch_size: int,
    resumed: Mapping[str, Any] | None, weighted: bool,
) -> None:  # fmt: skip
    """Print the opening lines of a run.

    Args:
        session: the run.
        train_set, val_set: its pictures.
        batch_size: pictures per step and process.
        resumed: ``train_config`` of the checkpoint that the run continues; None for a new run.
        weighted: whether the loss weights the classes.
    """
    stopped, options, world = session.stopped, session.options, distributed.world_size()
    if resumed is not None:
        where = f"{stopped['images']} pictures into epoch {session.start + 1}" if stopped else f"epoch {session.start}"
        say(f"continuing from {where}{changes(resumed, session.configs['train_config'])}")
    c = train_set.num_classes
    processes = f", {world} processes" if distributed.active() else ""
    say(f"{session.name}: {len(train_set)} training and {len(val_set)} validation pictures, {c} classes, "
        f"{parameters(session.model)[0]:,} trainable parameters, {session.device.type}{processes}")  # fmt: skip
    if resumed is None and (source := session.configs["initial_weights"]):
        say(f"initial weights of the backbone: {source}")
    if train_set.listing.source:
        left = train_set.listing.left_for_testing
        rest = f"; {left} is left for testing: test.py --split test" if left else ""
        say(f"training on {train_set.listing.source}, validation on {val_set.listing.source}{rest}")
    if world > 1:
        batch = batch_size * options.accum_steps
        logger.warning("global batch %d x %d = %d pictures; --lr stays %g, scaled linearly it would be %g",
                       batch, world, batch * world, options.lr, options.lr * world)  # fmt: skip
    if session.configs["model_config"].get("attention") == "paper" and c >= MIN_CLASSES_FOR_HINT:
        logger.warning("%d classes: the published form of attention loses accuracy from about %d classes on; try "
                       "@recipes/direct.txt", c, MIN_CLASSES_FOR_HINT)  # fmt: skip
    if note := imbalance(train_set):
        say(f"{note}; {'weighted in the loss' if weighted else '--class_weights balanced weights them in the loss'}")
    if session.start >= options.epochs:
        say(f"all {options.epochs} epochs are done; give a larger --epochs to continue")

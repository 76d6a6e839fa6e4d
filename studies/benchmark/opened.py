"""A model with random weights as test.py opens it, and validation pictures for it."""

import argparse
from pathlib import Path

import torch

from args import data_config, model_config
from dataset.pictures import PictureDataset
from dataset.registry import build_dataset, dataset_spec
from engine.trained_model import TrainedModel
from sloter.slot_model import build_model
from tools import checkpoint

HALF = 0.5  # mean and standard deviation of the normalisation


def opened(
    run: argparse.Namespace, device: torch.device, folder: Path, count: int
) -> tuple[TrainedModel, PictureDataset]:
    """Save a slot model for the classes of ``--dataset`` in a folder and open it; also ``count`` validation pictures.

    A split with fewer pictures is repeated.
    """
    spec = dataset_spec(run.dataset)
    data = build_dataset(run.dataset, "val", **data_config(run, first_classes=spec.first_classes))
    data.listing = data.listing.subset([number % len(data) for number in range(count)])
    torch.manual_seed(run.seed)
    flags = argparse.Namespace(**{**vars(run), "use_slot": True, "pre_trained": False})
    config = model_config(flags, num_classes=data.num_classes, in_chans=data.in_chans)
    statistics = {"mean": [HALF] * data.in_chans, "std": [HALF] * data.in_chans}
    state = {
        "format": checkpoint.FORMAT, "model_config": config, "model": build_model(**config).state_dict(), "epoch": 0,
        "data_config": {"dataset": run.dataset, "class_names": data.class_names, **statistics},
        "train_config": {"lambda_value": run.lambda_value, "power": run.power},
    }  # fmt: skip
    path = checkpoint.checkpoint_path(folder, checkpoint.run_name(run.dataset, use_slot=True, loss_status=1))
    checkpoint.save(path, state)
    return TrainedModel.open(path, device=device, channels_last=run.channels_last), data

"""Metadata of an exported file: what a program needs that has the file alone."""

import json
import mmap
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.trained_model import TrainedModel
from sloter.config import OPTIONS, options_with, slot_config
from tools import VERSION
from tools.provenance import file_fingerprint

PROGRAM = "SCOUTER studies.export"  # the start of the entry "program", by which an own file is known
FILE = "metadata.json"  # its name in the archives of PyTorch


def metadata(trained: TrainedModel, *, uint8: bool) -> dict[str, Any]:
    """Collect the metadata: plain types, which JSON can express.

    Args:
        trained: the model.
        uint8: whether the file takes pixels.

    Returns:
        ``input`` (``uint8`` or ``normalised``), ``input_shape`` (b stands for any number of pictures), ``img_size``,
        ``mean`` and ``std`` (of pixel values in [0, 1]), ``class_names`` in the order of the outputs, ``backbone``,
        and the origin of the file. Of a slot model also ``sign``, ``reference`` and ``form``, the options of the head:
        ``logits == sign * evidence.sum((2, 3))``.
    """
    config, (height, width) = trained.config, trained.img_size
    shape = [height, width, trained.in_chans] if uint8 else [trained.in_chans, height, width]
    entries = {
        "program": f"{PROGRAM} {VERSION}",
        "checkpoint": trained.path.name,
        "checkpoint_id": file_fingerprint(trained.path),
        "backbone": config["backbone"],
        "input": "uint8" if uint8 else "normalised",
        "input_shape": ["b", *shape],
        "img_size": [height, width],
        "in_chans": trained.in_chans,
        **{name: list(values) for name, values in trained.statistics.items()},
        "class_names": trained.class_names,
    }
    if config["use_slot"]:
        apart = ("loss_status", *options_with("reading", "start", "training"))
        options = asdict(slot_config({name: config[name] for name in OPTIONS}))
        form = {name: value for name, value in options.items() if name not in apart}
        entries |= {"sign": config["loss_status"], "reference": trained.reference, "form": form}
    return entries


def is_exported(path: Path) -> bool:
    """Whether a file of any of the formats is of this program; the archives keep the metadata uncompressed."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(json.dumps(PROGRAM)[:-1].encode()) >= 0

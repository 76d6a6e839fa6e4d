"""Fingerprints of the data and weights of features, so that changed ones are not mistaken for the old ones."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from dataset.pictures import PictureDataset
from sloter.backbone import TimmModel


def data_fingerprint(data: PictureDataset) -> str:
    """Hash of a split: path, size and time of each picture file (or its pixels), its label and its boxes."""
    found, listing = hashlib.sha256(), data.listing
    for index, (picture, label) in enumerate(zip(listing.pictures, listing.labels, strict=True)):
        if isinstance(picture, np.ndarray):
            found.update(np.ascontiguousarray(picture).tobytes())
        else:
            about = Path(picture).stat()
            found.update(f"{picture} {about.st_size} {about.st_mtime_ns}".encode())
        boxes = listing.boxes[index] if listing.boxes is not None else None
        found.update(f" {label} {boxes if boxes is None else np.asarray(boxes).tolist()}\n".encode())
    return found.hexdigest()


def weights_fingerprint(model: TimmModel) -> str:
    """Hash of the names and values of a model's parameters and buffers."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()

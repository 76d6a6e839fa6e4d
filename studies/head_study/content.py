"""Fingerprints of data, weights and code, so that what was made of others is not mistaken for the result of these."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from dataset.pictures import PictureDataset
from sloter.backbone import TimmModel
from tools import VERSION

ROOT = Path(__file__).parents[2]


def data_fingerprint(data: PictureDataset) -> str:
    """Hash of a split: path, size and time of each picture file (or its pixels), its label and its boxes."""
    found, listing = hashlib.sha256(), data.listing
    for index, (picture, label) in enumerate(zip(listing.pictures, listing.labels, strict=True)):
        boxes = listing.boxes[index] if listing.boxes is not None else None
        found.update(picture.tobytes() if isinstance(picture, np.ndarray) else _of_file(Path(picture)))
        # Boxes are numbers, their XML file, or the reason why there are none.
        found.update(f" {label} ".encode())
        found.update(_of_file(boxes) if isinstance(boxes, Path) else f"{np.asarray(boxes).tolist()}\n".encode())
    return found.hexdigest()


def _of_file(path: Path) -> bytes:
    """Path, size and time of a file, or its path alone if it is not there."""
    about = path.stat() if path.exists() else None
    return f"{path} {about.st_size} {about.st_mtime_ns}\n".encode() if about else f"{path}\n".encode()


def weights_fingerprint(model: TimmModel) -> str:
    """Hash of the names and values of a model's parameters and buffers."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def code_fingerprint(*paths: str) -> str:
    """Hash of Python files, and of all in the given folders, relative to the project; also of the version."""
    found = hashlib.sha256(VERSION.encode())
    for path in paths:
        given = ROOT / path
        for file in [given] if given.is_file() else sorted(given.rglob("*.py")):
            found.update(f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()[:16]

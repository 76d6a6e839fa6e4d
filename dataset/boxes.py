"""Bounding boxes of objects, in pixels of the upright, resized picture."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch
from torch import Tensor

from dataset import DataError

Box = tuple[float, float, float, float]  # left, top, right, bottom

# EXIF orientation -> for x and for y of the upright picture: the stored axis that it comes from (0 x, 1 y), and whether
# it is reversed.
_UPRIGHT = {
    1: ((0, False), (1, False)),
    2: ((0, True), (1, False)),
    3: ((0, True), (1, True)),
    4: ((0, False), (1, True)),
    5: ((1, False), (0, False)),
    6: ((1, True), (0, False)),
    7: ((1, True), (0, True)),
    8: ((1, False), (0, True)),
}


def read_voc(path: Path) -> tuple[list[Box], tuple[int, int]]:
    """Read the boxes of a Pascal VOC XML file, and the (width, height) of their picture.

    Raises:
        DataError: the file is missing or not a Pascal VOC file.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is a pipe, a device or a folder")
        root = ElementTree.parse(path).getroot()
        size = int(root.findtext("size/width", "")), int(root.findtext("size/height", ""))
        boxes = [
            tuple(float(entry.findtext(name, "")) for name in ("xmin", "ymin", "xmax", "ymax"))
            for entry in root.iterfind("object/bndbox")
        ]
        if min(size) < 1 or not all(math.isfinite(value) for box in boxes for value in box):
            raise ValueError(f"a picture of {size[0]} x {size[1]} pixels, or a corner that is no number")
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"the boxes in {path} cannot be read: {str(error).splitlines()[0]}") from error
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes], size


def boxes_in_frame(
    source: Box | Path, *, stored_size: tuple[int, int], orientation: int, img_size: tuple[int, int]
) -> Tensor:
    """Convert boxes to the upright, resized picture that the model sees, and clip them to it.

    Args:
        source: a box in pixels of the stored picture, or a Pascal VOC XML file with any number of boxes.
        stored_size: (width, height) of the stored picture; an XML file gives its own.
        orientation: EXIF orientation of the picture, 1 if it is stored upright.
        img_size: (H, W) after resizing.

    Returns:
        (m, 4), left, top, right, bottom in pixels; boxes outside the picture are left out.
    """
    boxes, (width, height) = read_voc(source) if isinstance(source, Path) else ([source], stored_size)
    corners = torch.tensor(boxes, dtype=torch.float64).view(-1, 2, 2)  # (m, corner, x or y)
    shares = (corners / torch.tensor([width, height], dtype=torch.float64)).clamp(0, 1)  # of width and height
    axes = []
    for axis, mirrored in _UPRIGHT.get(orientation, _UPRIGHT[1]):
        values = shares[:, :, axis]  # (m, corner)
        axes.append(1 - values if mirrored else values)
    low = torch.stack([values.amin(1) for values in axes], dim=1)  # (m, 2)
    high = torch.stack([values.amax(1) for values in axes], dim=1)  # (m, 2)
    scale = torch.tensor([img_size[1], img_size[0]] * 2, dtype=torch.float64)
    clipped = torch.cat((low, high), dim=1) * scale  # (m, 4)
    inside = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    return clipped[inside].float()

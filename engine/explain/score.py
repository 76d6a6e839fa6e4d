"""Measurement of explanations over a split: metrics of each picture's map, and their means with intervals.

The metrics are in :mod:`engine.explain.metrics`. Here pictures, maps and explained classes are kept together batch by
batch, so that no map can be measured on another picture.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dataset.loaders import Batch
from engine.explain.interface import Explainer, Logits
from engine.explain.metrics.area import min_max
from engine.explain.metrics.batch import MapBatch
from engine.explain.metrics.bootstrap import bootstrap_interval
from engine.explain.metrics.registry import COLUMNS, METRICS
from engine.explain.settings import MetricSettings
from tools.console import progress
from tools.distributed import gather

BOX_COLUMNS = frozenset(column for metric in METRICS.values() if metric.needs_boxes for column in metric.columns)


def score_maps(
    explainer: Explainer, logits: Logits, loader: Iterable[Batch], *, explained: Tensor | None = None,
    num_classes: int | None = None, boxes: Callable[[int], Tensor | None] | None = None, settings: MetricSettings,
    batch_size: int = 64, sensitivity: bool = True, title: str = "measure maps",
) -> list[dict[str, float]]:  # fmt: skip
    """Measure the maps of every picture of every process.

    Args:
        explainer: source of the maps.
        logits: the model, (b, ch, H, W) to (b, c).
        loader: batches on the device, their pictures normalised.
        explained: (c), the class to be explained for each true class: for a negative model the least similar one.
            None explains the true class.
        num_classes: c; maps are scaled for the area jointly over all classes of the picture, as in the paper; this
            needs a map of every class. None scales each map by itself.
        boxes: maps the number of a picture to its boxes, (m, 4) in pixels of the resized picture, or None.
        settings: parameters of the metrics.
        batch_size: pictures in one forward pass.
        sensitivity: whether to measure sensitivity, which explains each picture many times.
        title: title of the progress bar.

    Returns:
        One record for each picture, sorted by its ``number``, with the :data:`COLUMNS` that apply to it.
    """
    metrics = [metric for name, metric in METRICS.items() if sensitivity or name != "sensitivity"]
    records = []
    for batch in progress(loader, title):
        maps = _map_batch(explainer, logits, batch, explained, num_classes, boxes, settings, batch_size)
        values: dict[str, Tensor] = {}
        for metric in metrics:
            values |= metric.compute(maps)
        rows = torch.stack([value.double().cpu() for value in values.values()], 1).tolist()  # one copy to the host
        for row, number, own in zip(rows, batch.numbers.tolist(), maps.boxes, strict=True):
            record = dict(zip(values, row, strict=True))
            known = {name: value for name, value in record.items() if own is not None or name not in BOX_COLUMNS}
            records.append({"number": number, **known})
    return sorted(gather(records), key=lambda record: record["number"])


def _map_batch(
    explainer: Explainer, logits: Logits, batch: Batch, explained: Tensor | None, num_classes: int | None,
    boxes: Callable[[int], Tensor | None] | None, settings: MetricSettings, batch_size: int,
) -> MapBatch:  # fmt: skip
    images, labels = batch.images, batch.labels
    classes = labels if explained is None else explained.to(labels.device)[labels]  # (b)
    scaled, maps = _maps(explainer, images, classes, num_classes)
    found = [boxes(number) if boxes else None for number in batch.numbers.tolist()]
    found = [own if own is not None and len(own) else None for own in found]
    return MapBatch(
        explainer, logits, images, labels, classes, explains_others=explained is not None, maps=maps, scaled=scaled,
        boxes=found, settings=settings, batch_size=batch_size,
    )  # fmt: skip


def _maps(
    explainer: Explainer, images: Tensor, classes: Tensor, num_classes: int | None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Maps (b, h, w) of the explained classes, twice: scaled to [0, 1] for the area, and >= 0 for the other metrics.

    Without ``num_classes`` both are the scaled map: a constant offset says nothing about any place.
    """
    if num_classes is None:
        maps = explainer(images, classes[:, None]).clamp_min(0)  # (b, 1, h, w)
        flat = maps.flatten(1)
        constant = (flat.amax(1) == flat.amin(1)) & (flat.amax(1) > 0)  # it marks the whole picture, not nothing
        maps = scaled = torch.where(constant.view(-1, 1, 1, 1), 1.0, min_max(maps))
    else:
        every = torch.arange(num_classes, device=images.device).expand(len(images), -1)  # (b, c)
        maps = explainer(images, every).clamp_min(0)  # (b, c, h, w)
        index = classes.view(-1, 1, 1, 1).expand(-1, 1, *maps.shape[2:])
        scaled, maps = min_max(maps).gather(1, index), maps.gather(1, index)  # (b, 1, h, w)
    return scaled[:, 0], maps[:, 0]


def summary(records: list[dict[str, float]], settings: MetricSettings) -> dict[str, Any]:
    """Means of the metrics over the pictures that have them, with 95 % bootstrap intervals.

    Returns:
        ``images``, the mean of each metric under its name, ``intervals`` with a pair for each metric, ``settings``.
    """
    names = [name for name in COLUMNS if any(name in record for record in records)]
    values = {name: [record[name] for record in records if name in record] for name in names}
    return {
        "images": len(records),
        **{name: sum(of) / len(of) for name, of in values.items()},
        "intervals": {name: bootstrap_interval(of, seed=settings.seed) for name, of in values.items()},
        "settings": asdict(settings),
    }

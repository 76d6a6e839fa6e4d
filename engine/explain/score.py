"""Measurement of explanations over a split: metrics of each picture's map, and their means with intervals.

The metrics are in :mod:`engine.explain.metrics`. Here pictures, maps and explained classes are kept together batch by
batch, so that no map can be measured on another picture.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from dataset.loaders import Batch
from engine.explain.interface import Claim, Explainer, Logits
from engine.explain.metrics.area import min_max
from engine.explain.metrics.batch import MapBatch
from engine.explain.metrics.bootstrap import bootstrap_interval, quartiles
from engine.explain.metrics.registry import BOX_COLUMNS, COLUMNS, MEDIANS, METRICS, Metric
from engine.explain.settings import DEFAULT_METRICS, MetricSettings
from tools.console import progress
from tools.distributed import gather

Boxes = Callable[[int], Tensor | None]
Record = dict[str, float]


def score_maps(
    explainer: Explainer, logits: Logits, loader: Iterable[Batch], *, explained: Tensor | None = None,
    num_classes: int | None = None, boxes: Boxes | None = None, settings: MetricSettings, batch_size: int = 64,
    metrics: Collection[str] = DEFAULT_METRICS, title: str = "measure maps", claim: Claim | None = None,
    statistics: Mapping[str, Sequence[float]] | None = None,
) -> list[Record]:  # fmt: skip
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
        metrics: names of the metrics; those of :class:`PassMetric` are left out.
        title: title of the progress bar.
        claim: sums that the maps claim to have; None if they claim none.
        statistics: ``mean`` and ``std`` of the normalisation, which JPEG files need; None leaves them out.

    Returns:
        One record for each picture, sorted by its ``number``, with the :data:`COLUMNS` that apply to it.
    """
    chosen = [metric for name, metric in METRICS.items() if name in metrics and isinstance(metric, Metric)]
    records: list[Record] = []
    for batch in progress(loader, title):
        maps = _map_batch(explainer, logits, batch, explained, num_classes, boxes, settings, batch_size, claim,
                          statistics)  # fmt: skip
        values: dict[str, Tensor] = {}
        for metric in chosen:
            values |= metric.compute(maps)
        columns = [value.cpu().double() for value in values.values()] or [torch.zeros(len(maps.maps), 0)]
        rows = torch.stack(columns, 1).flatten(1).tolist()
        for row, number, own in zip(rows, batch.numbers.tolist(), maps.boxes, strict=True):
            record = dict(zip(values, row, strict=True))
            known = {name: value for name, value in record.items() if own is not None or name not in BOX_COLUMNS}
            records.append({"number": number, **known})
    return sorted(gather(records), key=lambda record: record["number"])


def _map_batch(
    explainer: Explainer, logits: Logits, batch: Batch, explained: Tensor | None, num_classes: int | None,
    boxes: Boxes | None, settings: MetricSettings, batch_size: int, claim: Claim | None,
    statistics: Mapping[str, Sequence[float]] | None,
) -> MapBatch:  # fmt: skip
    images, labels = batch.images, batch.labels
    classes = labels if explained is None else explained.to(labels.device)[labels]  # (b)
    scaled, maps, raw = _maps(explainer, images, classes, num_classes)
    found = [boxes(number) if boxes else None for number in batch.numbers.tolist()]
    found = [own if own is not None and len(own) else None for own in found]
    return MapBatch(
        explainer, logits, images, labels, classes, explains_others=explained is not None, maps=maps, raw=raw,
        scaled=scaled, boxes=found, settings=settings, batch_size=batch_size, claim=claim, statistics=statistics,
    )  # fmt: skip


def _maps(
    explainer: Explainer, images: Tensor, classes: Tensor, num_classes: int | None
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Maps (b, h, w) of the explained classes, three times: scaled to [0, 1] for the area, >= 0 for the other metrics,
    and as they are.

    Without ``num_classes`` the first two are the scaled map: a constant offset says nothing about any place.
    """
    if num_classes is None:
        raw = explainer(images, classes[:, None])  # (b, 1, h, w)
        maps = raw.clamp_min(0)
        flat = maps.flatten(1)
        constant = (flat.amax(1) == flat.amin(1)) & (flat.amax(1) > 0)  # it marks the whole picture, not nothing
        maps = scaled = torch.where(constant.view(-1, 1, 1, 1), 1.0, min_max(maps))
    else:
        every = torch.arange(num_classes, device=images.device).expand(len(images), -1)  # (b, c)
        raw = explainer(images, every)  # (b, c, h, w)
        maps = raw.clamp_min(0)
        index = classes.view(-1, 1, 1, 1).expand(-1, 1, *maps.shape[2:])
        raw = raw.gather(1, index)  # (b, 1, h, w)
        scaled, maps = min_max(maps).gather(1, index), maps.gather(1, index)  # (b, 1, h, w)
    return scaled[:, 0], maps[:, 0], raw[:, 0]


def summary(records: list[dict[str, float]], settings: MetricSettings) -> dict[str, Any]:
    """Means of the metrics over the pictures that have them, with 95 % bootstrap intervals.

    Returns:
        ``images``, the mean of each metric under its name, or the median for :data:`MEDIANS`, ``intervals`` with a pair
        for each metric, ``settings``; for each median ``quartiles``, a pair, and ``means``, where there are any.
    """
    names = [name for name in COLUMNS if any(name in record for record in records)]
    values = {name: [record[name] for record in records if name in record] for name in names}
    means = {name: sum(of) / len(of) for name, of in values.items()}
    quarters = {name: quartiles(of) for name, of in values.items() if name in MEDIANS}
    extra = {
        "quartiles": {name: (low, high) for name, (low, _, high) in quarters.items()},
        "means": {name: means[name] for name in quarters},
    }
    return {
        "images": len(records),
        **means,
        **{name: middle for name, (_, middle, _) in quarters.items()},
        "intervals": {
            name: bootstrap_interval(of, seed=settings.seed, median=name in MEDIANS) for name, of in values.items()
        },
        "settings": asdict(settings),
        **(extra if quarters else {}),
    }

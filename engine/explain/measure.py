"""Measurement of one explainer by metrics of both kinds: of single maps, and with passes of their own."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.explain.interface import Claim
from engine.explain.metrics.registry import METRICS, Metric, PassMetric
from engine.explain.metrics.subject import Subject
from engine.explain.score import Boxes, Record, score_maps, summary
from engine.explain.settings import MetricSettings
from tools.distributed import gather


def measure(
    subject: Subject, names: Collection[str], *, num_classes: int | None = None, boxes: Boxes | None = None,
    claim: Claim | None = None, statistics: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure an explainer on the pictures of every process.

    Args:
        subject: explainer, model and pictures.
        names: keys of :data:`engine.explain.metrics.registry.METRICS`.
        num_classes, boxes, claim, statistics: see :func:`engine.explain.score.score_maps`.

    Returns:
        See :func:`engine.explain.score.summary`; also the names of the ``metrics``.
    """
    chosen = {name: metric for name, metric in METRICS.items() if name in names}
    single = [name for name, metric in chosen.items() if isinstance(metric, Metric)]
    found: list[Record] = []
    if single:
        found = score_maps(
            subject.explainer, subject.logits, subject.loader, explained=subject.explained, num_classes=num_classes,
            boxes=boxes, settings=subject.settings, batch_size=subject.batch_size, metrics=single, title=subject.title,
            claim=claim, statistics=statistics,
        )  # fmt: skip
    for metric in chosen.values():
        if isinstance(metric, PassMetric):
            found += gather(metric.measure(subject))
    records: dict[int, Record] = {}
    for record in found:
        records.setdefault(int(record["number"]), {}).update(record)
    return {**summary([*records.values()], subject.settings), "metrics": [*chosen]}


def passes(names: Collection[str], settings: MetricSettings) -> tuple[int, int]:
    """Forward passes and explanations of each picture that the metrics take, about."""
    chosen = [metric for name, metric in METRICS.items() if name in names]
    own = any(isinstance(metric, Metric) for metric in chosen)
    return (sum(metric.forwards(settings) for metric in chosen),
            own + sum(metric.explanations(settings) for metric in chosen))  # fmt: skip


@torch.no_grad()
def seconds_of_forward(logits: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Seconds that the forward pass of a batch takes for each picture.

    Args:
        logits: the model; a result on a device is waited for.
        images: normalised pictures (b, ch, H, W).
    """
    float(logits(images).sum())  # the first forward is slower than the rest
    start = time.perf_counter()
    float(logits(images).sum())
    return (time.perf_counter() - start) / len(images)

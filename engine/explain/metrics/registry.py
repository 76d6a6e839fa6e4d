"""Registry of the explanation metrics, with the columns that each fills in ``metrics.json``."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from engine.explain.metrics.area import area
from engine.explain.metrics.batch import MapBatch
from engine.explain.metrics.completeness import completeness
from engine.explain.metrics.complexity import complexity
from engine.explain.metrics.confidence import confidence_of_batch
from engine.explain.metrics.grid_game import SIDES, grid_game
from engine.explain.metrics.infidelity import infidelity_of_batch
from engine.explain.metrics.insertion_deletion import insertion_deletion_of_batch
from engine.explain.metrics.mprt import efficient_mprt
from engine.explain.metrics.on_object import on_object_of_batch
from engine.explain.metrics.random_head import REDRAWS, random_head
from engine.explain.metrics.rank import rank_of_batch
from engine.explain.metrics.road import road_of_batch
from engine.explain.metrics.sensitivity import sensitivity_of_batch
from engine.explain.metrics.stability import stability_of_batch
from engine.explain.metrics.subject import Subject
from engine.explain.settings import MetricSettings

Count = Callable[[MetricSettings], int]


def _none(settings: MetricSettings) -> int:
    return 0


@dataclass(frozen=True)
class Metric:
    """Explanation metric of single pictures and their maps.

    Attributes:
        compute: maps a batch to (b) values for each column; any value for pictures without boxes if ``needs_boxes``. A
            column that a batch has no value for is left out.
        columns: names of its values, in the order of the table.
        needs_boxes: whether it is defined for pictures with boxes only.
        forwards: forward passes for each picture.
        explanations: explanations of each picture, besides the one that all metrics share.
    """

    compute: Callable[[MapBatch], dict[str, Tensor]]
    columns: tuple[str, ...]
    needs_boxes: bool = False
    forwards: Count = _none
    explanations: Count = _none


@dataclass(frozen=True)
class PassMetric:
    """Explanation metric with passes of its own over the pictures, since it changes the model or puts them together.

    Attributes:
        measure: records of pictures with their ``number`` and columns; a picture may be left out. In several processes
            each returns its share.
        columns, forwards, explanations: as for :class:`Metric`.
        median: whether the median over pictures is given, with quartiles, instead of the mean.
    """

    measure: Callable[[Subject], list[dict[str, float]]]
    columns: tuple[str, ...]
    forwards: Count = _none
    explanations: Count = _none
    median: bool = False


METRICS: dict[str, Metric | PassMetric] = {
    "area": Metric(area, ("area",)),
    "on_object": Metric(on_object_of_batch, ("precision", "pointing", "energy"), needs_boxes=True),
    "insertion_deletion": Metric(
        insertion_deletion_of_batch, ("iauc", "dauc", "iauc_true", "dauc_true"), forwards=lambda s: 2 * s.steps
    ),
    "infidelity": Metric(infidelity_of_batch, ("infidelity",), forwards=lambda s: s.infidelity_samples),
    "sensitivity": Metric(sensitivity_of_batch, ("sensitivity",), explanations=lambda s: s.sensitivity_samples),
    "grid_game": PassMetric(
        # A mosaic of n pictures takes n forward passes and is explained for n classes.
        grid_game, ("grid_2x2", "grid_3x3"), forwards=lambda s: 3, explanations=lambda s: sum(n * n for n in SIDES),
        median=True,
    ),
    "random_head": PassMetric(random_head, ("random_head",), explanations=lambda s: 1 + REDRAWS),
    "mprt": PassMetric(efficient_mprt, ("mprt",), explanations=lambda s: 2),
    "completeness": Metric(completeness, ("completeness", "completeness_gap"), forwards=lambda s: 2),
    "road": Metric(road_of_batch, ("road",), forwards=lambda s: 2 * s.road_steps),
    "confidence": Metric(confidence_of_batch, ("average_drop", "increase"), forwards=lambda s: 2),
    "rank": Metric(rank_of_batch, ("rank_accuracy", "auc"), needs_boxes=True),
    "complexity": Metric(complexity, ("gini", "entropy")),
    "stability": Metric(stability_of_batch, ("stability_shift", "stability_jpeg"), explanations=lambda s: 6),
}  # fmt: skip
COLUMNS = tuple(column for metric in METRICS.values() for column in metric.columns)
BOX_COLUMNS = frozenset(
    column for metric in METRICS.values() if isinstance(metric, Metric) and metric.needs_boxes
    for column in metric.columns
)  # fmt: skip
MEDIANS = frozenset(
    column for metric in METRICS.values() if isinstance(metric, PassMetric) and metric.median
    for column in metric.columns
)  # fmt: skip
BETTER = {
    "area": "small", "dauc": "small", "dauc_true": "small", "infidelity": "small", "sensitivity": "small",
    "random_head": "near 0", "completeness": "0", "completeness_gap": "0", "average_drop": "small", "entropy": "small",
}  # fmt: skip
"""Direction of the columns in which not ``large`` is better."""


def better(column: str) -> str:
    """Direction in which a column is better, in words."""
    return BETTER.get(column, "large")

"""Registry of the explanation metrics, with the columns that each fills in ``metrics.json``."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from engine.explain.metrics.area import area
from engine.explain.metrics.batch import MapBatch
from engine.explain.metrics.infidelity import infidelity_of_batch
from engine.explain.metrics.insertion_deletion import insertion_deletion_of_batch
from engine.explain.metrics.on_object import on_object_of_batch
from engine.explain.metrics.sensitivity import sensitivity_of_batch


@dataclass(frozen=True)
class Metric:
    """Explanation metric.

    Attributes:
        compute: maps a batch to (b) values for each column; any value for pictures without boxes if ``needs_boxes``.
        columns: names of its values, in the order of the table.
        needs_boxes: whether it is defined for pictures with boxes only.
    """

    compute: Callable[[MapBatch], dict[str, Tensor]]
    columns: tuple[str, ...]
    needs_boxes: bool = False


METRICS: dict[str, Metric] = {
    "area": Metric(area, ("area",)),
    "on_object": Metric(on_object_of_batch, ("precision", "pointing", "energy"), needs_boxes=True),
    "insertion_deletion": Metric(insertion_deletion_of_batch, ("iauc", "dauc", "iauc_true", "dauc_true")),
    "infidelity": Metric(infidelity_of_batch, ("infidelity",)),
    "sensitivity": Metric(sensitivity_of_batch, ("sensitivity",)),
}
COLUMNS = tuple(column for metric in METRICS.values() for column in metric.columns)

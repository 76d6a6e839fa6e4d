"""The best epoch of a run by a metric of the validation pictures, and the end of a run that no longer improves."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from engine.predictions import Predictions

logger = logging.getLogger(__name__)

# Metric -> its key in the record of an epoch, and whether larger is better.
METRICS = {
    "top1": ("val_top1", True),
    "balanced_accuracy": ("val_balanced_accuracy", True),
    "auroc": ("val_auroc", True),
    "loss": ("val_loss", False),
}


class Best:
    """Best epoch so far.

    Args:
        metric: key of :data:`METRICS`.
        patience: number of epochs without a better one after which the run ends; None for no end.

    Attributes:
        value: of the metric in the best epoch; None before the first.
        epoch: the best epoch, from 0; before there is one, that before the first of the run, -1 without --start_epoch.
    """

    def __init__(self, metric: str = "top1", patience: int | None = None) -> None:
        self.metric, self.patience = metric, patience
        self.key, self.larger = METRICS[metric]
        self.value: float | None = None
        self.epoch = -1

    def add(self, record: Mapping[str, Any]) -> bool:
        """Take the record of an epoch into account; returns whether it is the best so far."""
        value = record[self.key]
        if math.isnan(value):
            logger.warning("%s is not defined: there must be validation pictures of two classes or more, so no epoch "
                           "is the best", self.key, extra={"once": True})  # fmt: skip
            return False
        if self.value is not None and not (value > self.value if self.larger else value < self.value):
            return False
        self.value, self.epoch = value, record["epoch"]
        return True

    def exhausted(self, epoch: int) -> bool:
        """Whether the run ends before this epoch, since too many before it were not better."""
        return self.patience is not None and epoch - 1 - self.epoch >= self.patience

    def collector(self) -> Predictions | None:
        """Collector of the predictions, if the metric needs them."""
        return Predictions() if self.metric in ("balanced_accuracy", "auroc") else None

    def state_dict(self) -> dict[str, Any]:
        """Entry ``best`` of a checkpoint."""
        return {"metric": self.metric, "value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint; where its best epoch is unknown, or of another metric, the next one is best."""
        stored = state.get("best") or {}
        if stored.get("metric") == self.metric:
            self.value, self.epoch = stored["value"], stored["epoch"]
            return
        self.epoch = state["epoch"]
        if stored:
            logger.warning("--checkpoint_metric %s, before %s: the best of the next epochs will be saved", self.metric,
                           stored.get("metric"))  # fmt: skip
        elif self.metric == "top1" and state["best_top1"] >= 0:  # of an earlier version
            self.value = state["best_top1"]

    def __str__(self) -> str:
        if self.value is None:
            return f"no epoch has a {self.key}"
        return f"best epoch {self.epoch + 1}, {self.key} {self.value:.4f}"


def class_means(found: Predictions | None) -> dict[str, float]:
    """Balanced accuracy and macro AUROC of the predictions; nothing without them. Every process must call it."""
    if found is None:
        return {}
    from engine.classification import class_figures, summary  # torchmetrics: most runs do not need it

    found.complete()
    means = summary(class_figures(found.logits, found.labels))
    return {"balanced_accuracy": means["balanced_accuracy"], "auroc": means["macro_auroc"]}

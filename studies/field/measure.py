"""Measurement of one row of the study: the maps of a model by a method, on the pictures that all rows share."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.explain.attribution.registry import METHODS, build_explainer
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer
from engine.explain.score import score_maps, summary
from engine.explain.settings import MetricSettings
from studies.field.data import FieldData
from studies.field.models import OnBackbone
from studies.field.plan import OWN

# A result of a measurement depends on this code, besides that of the training.
MEASURING_CODE = ("engine/explain", "engine/least_similar.py", "studies/field/measure.py")


@dataclass(frozen=True)
class Measuring:
    """Settings of the measurements.

    Attributes:
        metrics, methods: see their classes.
        batch_size: pictures in one forward pass.
        seed: of the drawn pictures and of the methods.
    """

    metrics: MetricSettings
    methods: MethodSettings
    batch_size: int
    seed: int


class Timed:
    """Explainer that counts the seconds and the pictures of its calls."""

    def __init__(self, explainer: Explainer, device: torch.device) -> None:
        self.explainer, self.device, self.seconds, self.pictures = explainer, device, 0.0, 0

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """The explainer's maps (b, t, h, w)."""
        start = time.perf_counter()
        maps = self.explainer(images, targets)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds += time.perf_counter() - start
        self.pictures += len(images)
        return maps


def forwards_of(method: str, split: SplitModel | None, settings: MethodSettings) -> float:
    """Forward passes for the map of one picture; a model's own maps of all classes take one."""
    if method == OWN:
        return 1
    assert split is not None
    return METHODS[method].cost(split, settings, 1)


def measure(
    data: FieldData, model: OnBackbone, split: SplitModel | None, method: str, *, count: int, negative: bool,
    settings: Measuring, title: str,
) -> dict[str, Any]:  # fmt: skip
    """Measure the maps of a model.

    Args:
        data: the dataset.
        model: the classifier.
        split: the same classifier as the attribution methods need it; None for a model's own maps.
        method: :data:`studies.field.plan.OWN` or an attribution method.
        count: number of pictures.
        negative: whether the maps are evidence against a class: then that of the least similar class is measured.
        settings: see its class.
        title: title of the progress bar.

    Returns:
        What :func:`engine.explain.score.summary` returns, with ``scoring_seconds`` of all, and ``map_seconds`` of the
        explanation of one picture.
    """
    own = method == OWN
    if own:
        explainer = model.explainer()
    else:
        assert split is not None
        loader = data.loader(data.val, batch_size=32) if METHODS[method].needs_loader else None
        explainer = build_explainer(method, split, loader=loader, seed=settings.seed, options=settings.methods)
    timed, sample = Timed(explainer, data.device), data.sample(count, seed=settings.seed)
    start = time.monotonic()
    records = score_maps(
        timed, model.logits, data.loader(sample, batch_size=min(settings.batch_size, 8)),
        explained=torch.tensor(data.least_similar) if negative else None,
        num_classes=data.classes if own else None, boxes=sample.boxes, settings=settings.metrics,
        batch_size=settings.batch_size, sensitivity=settings.metrics.sensitivity_samples > 0, title=title,
    )  # fmt: skip
    seconds = time.monotonic() - start
    found = summary(records, settings.metrics)
    return {**found, "scoring_seconds": seconds, "map_seconds": timed.seconds / max(timed.pictures, 1)}


@torch.no_grad()
def seconds_of_forward(data: FieldData, model: OnBackbone) -> float:
    """Seconds of the forward pass of one picture in a batch of eight."""
    images = torch.zeros(8, data.in_chans, *data.chosen.img_size, device=data.device)
    model(images)  # the first one is slower than the rest
    start = time.perf_counter()
    float(model(images).logits.sum())  # waits for the device
    return (time.perf_counter() - start) / len(images)

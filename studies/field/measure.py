"""Measurement of one row of the study: the maps of a model by a method, on the pictures that all rows share."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dataset.loaders import normalised_picture
from dataset.pictures import PictureDataset
from engine.explain import measure as measurement
from engine.explain.attribution.registry import METHODS, build_explainer, claim_of
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer, PictureBatch
from engine.explain.metrics.exchange import class_weights
from engine.explain.metrics.subject import Subject
from engine.explain.settings import MetricSettings
from studies.field.data import FieldData
from studies.field.models import OnBackbone
from studies.field.plan import OWN
from studies.head_study.heads import class_weights_of
from tools.machine import memory_format

# A result of a measurement depends on this code, besides that of the training.
MEASURING_CODE = ("engine/explain", "engine/least_similar.py", "studies/field/measure.py")


@dataclass(frozen=True)
class Measuring:
    """Settings of the measurements.

    Attributes:
        names: keys of :data:`engine.explain.metrics.registry.METRICS`.
        metrics, methods: see their classes.
        batch_size: pictures in one forward pass.
        seed: of the drawn pictures and of the methods.
    """

    names: Sequence[str]
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
        What :func:`engine.explain.measure.measure` returns, with ``scoring_seconds`` of all, and ``map_seconds`` of the
        explanation of one picture.
    """
    sample, start = data.sample(count, seed=settings.seed), time.monotonic()
    subject, timed = subject_of(data, model, split, method, sample, settings=settings, title=title, negative=negative)
    found = measurement.measure(
        subject, settings.names, num_classes=data.classes if method == OWN else None, boxes=sample.boxes,
        claim=None if split is None else claim_of(method, split), statistics=data.statistics,
    )  # fmt: skip
    seconds = time.monotonic() - start
    return {**found, "scoring_seconds": seconds, "map_seconds": timed.seconds / max(timed.pictures, 1)}


def subject_of(
    data: FieldData, model: OnBackbone, split: SplitModel | None, method: str, sample: PictureDataset, *,
    settings: Measuring, title: str, negative: bool,
) -> tuple[Subject, Timed]:  # fmt: skip
    """What is measured, and its explainer, which counts its calls; arguments as for :func:`measure`.

    Raises:
        ToolError: see :func:`engine.explain.attribution.registry.build_explainer`.
    """
    common: dict[str, Any] = {
        "loader": data.loader(sample, batch_size=min(settings.batch_size, 8)), "settings": settings.metrics,
        "pictures": partial(_pictures, data, sample), "batch_size": settings.batch_size, "title": title,
        "explained": torch.tensor(data.least_similar) if negative else None,
    }  # fmt: skip
    if method == OWN:
        timed = Timed(model.explainer(), data.device)
        weights = [class_weights_of(model.head)]
        return Subject(
            timed, lambda pictures: timed, model.logits, module=model, class_weights=weights, **common
        ), timed
    assert split is not None

    def build(pictures: Iterable[PictureBatch] | None) -> Explainer:
        loader = data.loader(data.val, batch_size=32) if pictures is None and METHODS[method].needs_loader else pictures
        return build_explainer(method, split, loader=loader, seed=settings.seed, options=settings.methods)

    timed, weights = Timed(build(None), data.device), class_weights(split.backbone, split.num_classes)
    return Subject(timed, build, split, module=split, class_weights=weights, **common), timed


def _pictures(data: FieldData, sample: PictureDataset, numbers: Sequence[int]) -> Tensor:
    """Normalised pictures (b, ch, H, W) of these numbers."""
    pixels = torch.stack([sample.pixels(number) for number in numbers]).to(data.device)
    return normalised_picture(pixels, **data.statistics).to(memory_format=memory_format(True))

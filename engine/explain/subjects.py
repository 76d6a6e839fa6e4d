"""What is measured: the slot maps of a trained model, or an attribution method for a plain one."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dataset.pictures import PictureDataset
from engine.explain.attribution.registry import Attribution, build_explainer
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer, PictureBatch
from engine.explain.metrics.exchange import class_weights
from engine.explain.metrics.subject import Subject
from engine.explain.settings import MetricSettings
from engine.trained_model import TrainedModel
from sloter.slot_model import SlotModel

BATCH = 8  # pictures that are explained at a time; forward passes have batches of their own


def slot_subject(
    trained: TrainedModel, sample: PictureDataset, kind: str, *, settings: MetricSettings, batch_size: int,
    num_workers: int, explained: Tensor | None,
) -> Subject:  # fmt: skip
    """Slot maps of a trained model.

    Args:
        trained: the slot model.
        sample: the pictures.
        kind: a key of :data:`engine.explain.slots.MAPS`.
        settings, batch_size, explained: see :class:`Subject`.
        num_workers: processes that load pictures.
    """
    model, explainer = trained.model, trained.explainer(kind)
    assert isinstance(model, SlotModel)
    return Subject(
        explainer, lambda pictures: explainer, lambda images: model(images).logits, module=model,
        class_weights=[model.slot.initial_slots], explained=explained, title="measure maps", settings=settings,
        batch_size=batch_size, **_pictures(trained, sample, batch_size, num_workers),
    )  # fmt: skip


def method_subject(
    trained: TrainedModel, sample: PictureDataset, split: SplitModel, explainer: Attribution, *, data: PictureDataset,
    settings: MetricSettings, batch_size: int, num_workers: int, options: MethodSettings, seed: int, redraws: bool,
) -> Subject:  # fmt: skip
    """Maps of an attribution method for a plain classifier.

    Args:
        trained: the plain classifier.
        sample: the pictures.
        split: its two parts.
        explainer: the method.
        data: the pictures that it was built with, if it needs some.
        settings, batch_size: see :class:`Subject`.
        num_workers: processes that load pictures.
        options, seed: see :func:`build_explainer`.
        redraws: whether the weights of single classes are needed.

    Raises:
        ToolError: they are needed, and the classifier has none.
    """

    def rebuild(pictures: Iterable[PictureBatch] | None) -> Explainer:
        if pictures is None:  # of all processes: each must build the same
            pictures = trained.loader(data, batch_size=batch_size, num_workers=0, shared=False)
        return build_explainer(explainer.name, split, loader=pictures, seed=seed, options=options)

    return Subject(
        explainer, rebuild, split, module=split, explained=None, title=explainer.name, settings=settings,
        class_weights=class_weights(split.backbone, split.num_classes) if redraws else [], batch_size=batch_size,
        **_pictures(trained, sample, batch_size, num_workers),
    )  # fmt: skip


def _pictures(trained: TrainedModel, sample: PictureDataset, batch_size: int, num_workers: int) -> dict[str, Any]:
    """Fields of :class:`Subject` that give pictures."""

    def pictures(numbers: Sequence[int]) -> Tensor:
        pixels = torch.stack([sample.pixels(number) for number in numbers])  # (b, ch, H, W) uint8
        return trained.normalised(pixels).to(memory_format=trained.memory_format)

    loader = trained.loader(sample, batch_size=min(batch_size, BATCH), num_workers=num_workers)
    return {"loader": loader, "pictures": pictures}

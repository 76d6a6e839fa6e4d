"""Scores of explanations over a split: each map of each picture measured once, means with their intervals.

What the scores are stands in :mod:`tools.faithfulness`; here pictures, maps and explained classes are kept together
batch by batch, so that no map can meet another picture.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.explain import Explainer
from tools import faithfulness
from tools.distributed import gather
from tools.logger import progress
from tools.metrics import min_max

SCORES = ("area", "precision", "pointing", "energy", "iauc", "dauc", "infidelity", "sensitivity")


@dataclass(frozen=True)
class ScoreSettings:
    """Parameters of the scores; they are stored with the figures.

    Attributes:
        steps: of insertion and deletion; 100 are one percent of the pixels each.
        blur_sigma: of the blurred picture that insertion starts from, in pixels.
        infidelity_samples: squares removed.
        infidelity_side: of a square, as a share of the shorter side of the picture.
        sensitivity_samples: random changes of the picture.
        sensitivity_radius: of such a change, in units of the normalised picture.
        seed: of squares and changes.
    """

    steps: int = 100
    blur_sigma: float = 5.0
    infidelity_samples: int = 50
    infidelity_side: float = 0.25
    sensitivity_samples: int = 10
    sensitivity_radius: float = 0.02
    seed: int = 0


def score_maps(
    explainer: Explainer,
    logits: faithfulness.Logits,
    loader: Iterable[Any],
    *,
    explained: Tensor | None = None,
    num_classes: int | None = None,
    boxes: Callable[[int], Tensor | None] | None = None,
    settings: ScoreSettings,
    batch_size: int = 64,
    sensitivity: bool = True,
    title: str = "score",
) -> list[dict[str, float]]:
    """Scores of every picture of every process.

    Args:
        explainer: pictures and classes to maps.
        logits: the model, (b, ch, H, W) to (b, c).
        loader: batches with ``images`` (normalised), ``labels`` and ``numbers``, on the device.
        explained: (c), the class to be explained for each true class, for a negative model the least similar one;
            None explains the true class.
        num_classes: c; the area is then of the map scaled over all classes of the picture together, as the paper
            has it, which costs a map of every class. None scales the map by itself.
        boxes: boxes of a picture, by its number: (m, 4) in pixels of the resized picture, or None.
        settings: parameters.
        batch_size: pictures of one forward.
        sensitivity: whether to measure it; it explains each picture anew many times.
        title: of the progress bar.

    Returns:
        One record a picture with those of :data:`SCORES` that apply, with ``iauc_true`` and ``dauc_true`` for the
        true class where another one is explained, and with its ``number``; sorted by that.
    """
    records = []
    for batch in progress(loader, title):
        images, labels = batch.images, batch.labels
        classes = labels if explained is None else explained.to(labels.device)[labels]  # (b)
        figures, maps = _areas(explainer, images, classes, num_classes)
        large = faithfulness.upsample(maps, images.shape[-2:])  # (b, H, W)
        wanted = classes[:, None] if explained is None else torch.stack([classes, labels], 1)  # (b, q)
        inserted, deleted = faithfulness.insertion_deletion(
            logits, images, large, wanted, steps=settings.steps, sigma=settings.blur_sigma, batch_size=batch_size
        )
        figures |= {"iauc": inserted[:, 0], "dauc": deleted[:, 0]}
        if explained is not None:
            figures |= {"iauc_true": inserted[:, 1], "dauc_true": deleted[:, 1]}
        figures["infidelity"] = faithfulness.infidelity(
            logits, images, large, classes, samples=settings.infidelity_samples, side=settings.infidelity_side,
            seed=settings.seed, batch_size=batch_size,
        )  # fmt: skip
        if sensitivity:
            figures["sensitivity"] = faithfulness.max_sensitivity(
                explainer, images, classes, samples=settings.sensitivity_samples, radius=settings.sensitivity_radius,
                seed=settings.seed,
            )  # fmt: skip
        rows = torch.stack([value.double().cpu() for value in figures.values()], 1).tolist()  # one copy to the host
        own = [dict(zip(figures, row, strict=True)) for row in rows]
        for place, (record, number) in enumerate(zip(own, batch.numbers.tolist(), strict=True)):
            known = boxes(number) if boxes else None
            if known is not None and len(known):
                on_object = faithfulness.on_object(large[place : place + 1], [known])
                record |= {name: float(value) for name, value in on_object.items()}
            records.append({"number": number, **record})
    return sorted(gather(records), key=lambda record: record["number"])


def _areas(
    explainer: Explainer, images: Tensor, classes: Tensor, num_classes: int | None
) -> tuple[dict[str, Tensor], Tensor]:
    """The area of the maps of the explained classes, and these maps (b, h, w), not below zero.

    A map that is scaled by itself is so for all scores: what it has everywhere says nothing about a place.
    """
    own = classes.view(-1, 1, 1, 1)
    if num_classes is None:
        maps = explainer(images, classes[:, None]).clamp_min(0)  # (b, 1, h, w)
        flat = maps.flatten(1)
        alike = (flat.amax(1) == flat.amin(1)) & (flat.amax(1) > 0)  # marks the whole picture, not nothing
        maps = scaled = torch.where(alike.view(-1, 1, 1, 1), 1.0, min_max(maps))
    else:
        every = torch.arange(num_classes, device=images.device).expand(len(images), -1)  # (b, c)
        maps = explainer(images, every).clamp_min(0)  # (b, c, h, w)
        index = own.expand(-1, 1, *maps.shape[2:])
        scaled, maps = min_max(maps).gather(1, index), maps.gather(1, index)  # (b, 1, h, w)
    return {"area": scaled.mean((1, 2, 3))}, maps[:, 0]


def summary(records: list[dict[str, float]], settings: ScoreSettings) -> dict[str, Any]:
    """Means over the pictures that have a score, with their 95 % bootstrap intervals.

    Returns:
        ``images``, the mean of each score under its name, and under ``intervals`` a pair for each; and the
        ``settings``.
    """
    names = [name for name in (*SCORES, "iauc_true", "dauc_true") if any(name in record for record in records)]
    values = {name: [record[name] for record in records if name in record] for name in names}
    return {
        "images": len(records),
        **{name: sum(of) / len(of) for name, of in values.items()},
        "intervals": {name: faithfulness.bootstrap_interval(of, seed=settings.seed) for name, of in values.items()},
        "settings": asdict(settings),
    }


@torch.no_grad()
def least_similar_by_features(
    features: Callable[[Tensor], Tensor], loader: Iterable[Any], num_classes: int
) -> list[int]:  # fmt: skip
    """For each class the one whose pictures are least like its own, where there is no WordNet.

    The similarity of two classes is the mean cosine of the pooled features of a picture of one and one of the other.

    Args:
        features: pictures (b, ch, H, W) to a feature map (b, f, h, w).
        loader: batches with ``images`` and ``labels`` of the split.
        num_classes: c; a class without pictures is nobody's least similar one.
    """
    sums: dict[int, Tensor] = {}
    counts = torch.zeros(num_classes)
    for batch in progress(loader, "compare classes"):
        unit = functional.normalize(features(batch.images).float().mean((2, 3)), dim=1).double().cpu()  # (b, f)
        for label, vector in zip(batch.labels.tolist(), unit, strict=True):
            sums[label] = sums.get(label, torch.zeros_like(vector)) + vector
        counts += torch.bincount(batch.labels.cpu(), minlength=num_classes)
    parts = gather([(sums, counts)])
    counts = sum(part[1] for part in parts)
    means = torch.stack([
        sum(part[0][label] for part in parts if label in part[0]) / counts[label]
        if counts[label]
        else torch.zeros_like(next(iter(parts[0][0].values())))
        for label in range(num_classes)
    ])  # (c, f)  # fmt: skip
    similarity = means @ means.T  # (c, c)
    similarity[:, counts == 0] = float("inf")
    return similarity.fill_diagonal_(float("inf")).argmin(1).tolist()

"""What the study compares: its models, the maps of each, and how many pictures a map is measured on. Torch-free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

OWN = "own map"  # of a model that explains itself
PLAIN = "linear"  # the plain classifier, which the attribution methods explain


@dataclass(frozen=True)
class Model:
    """A classifier on frozen features.

    Attributes:
        title: its name in the table.
        head, sign, lr, changes: as in :class:`studies.head_study.train.Setting`.
        loss: options of the training loss that differ from those of the head's recipe.
    """

    title: str
    head: str
    sign: int = 1
    lr: float = 3e-3
    changes: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, float] = field(default_factory=dict)


# The published form trains only at a lower rate. The direct form of before version 0.2.0 had other settings in its
# recipe, and counted evidence from the smallest value of any class.
MODELS: dict[str, Model] = {
    "paper+": Model("SCOUTER+, published form", "paper", lr=1e-3),
    "paper-": Model("SCOUTER-, published form", "paper", sign=-1, lr=1e-3),
    "direct_old": Model(
        "direct form before 0.2.0, reference min", "direct",
        changes={"reference": "min", "logit_scale": 4.0, "salience": 2.5}, loss={"absent_weight": 0.0},
    ),
    "direct": Model("direct form, reference quantile", "direct"),
    "baseline": Model("baseline without attention", "baseline"),
    PLAIN: Model("linear (FC)", "linear"),
}  # fmt: skip


class Row(NamedTuple):
    """One row of the table for each dataset: the maps of a model by a method."""

    model: str  # a key of MODELS
    method: str  # OWN, or an attribution method


def rows_of(models: Sequence[str], methods: Sequence[str]) -> list[Row]:
    """Rows in the order of the table; the attribution methods explain the plain classifier."""
    return [Row(model, method) for model in models for method in (methods if model == PLAIN else (OWN,))]


def pictures_for(forwards: float, *, limit: float, images: int, slow_images: int) -> int:
    """Number of pictures to measure a method on.

    Args:
        forwards: forward passes for the map of one picture.
        limit: up to this number a method is measured on ``images`` pictures, above it on ``slow_images``.
        images, slow_images: numbers of pictures.
    """
    return images if forwards <= limit else min(images, slow_images)

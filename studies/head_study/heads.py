"""The compared heads, which all take the feature map of a frozen backbone in place of a picture."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from args import expand_runs, parse_args, slot_options
from sloter.backbone import FeatureModel
from sloter.config import slot_config
from sloter.slot_model import SlotModel, SlotOutput


class NoBackbone(nn.Module):
    """A backbone whose input is a feature map already."""

    def forward_features(self, features: Tensor) -> Tensor:
        """Features (b, f, h, w), unchanged."""
        return features


class Linear(FeatureModel):
    """The plain classifier: pooling, dropout and one linear layer; its maps are CAM, here equal to Grad-CAM."""

    def __init__(self, f: int, num_classes: int, *, dropout: float) -> None:
        super().__init__(NoBackbone())
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(f, num_classes)

    def forward(self, features: Tensor) -> SlotOutput:
        """Logits of features (b, f, h, w)."""
        return SlotOutput(self.classifier(self.dropout(features.mean((2, 3)))))

    def contributions(self, features: Tensor) -> Tensor:
        """Contribution (b, c, h, w) of each place to each logit, without the bias, times the number of places."""
        return torch.einsum("bfhw,cf->bchw", features, self.classifier.weight)


class Baseline(FeatureModel):
    """The baseline without attention: 1x1 convolution, ReLU, pooling and one linear layer, as large as a slot head."""

    def __init__(self, f: int, num_classes: int, *, dim: int, dropout: float) -> None:
        super().__init__(NoBackbone())
        self.dropout, self.conv1x1 = nn.Dropout2d(dropout), nn.Conv2d(f, dim, 1)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, features: Tensor) -> SlotOutput:
        """Logits of features (b, f, h, w)."""
        return SlotOutput(self.classifier(F.relu(self.conv1x1(self.dropout(features))).mean((2, 3))))

    def contributions(self, features: Tensor) -> Tensor:
        """Contribution (b, c, h, w) of each place to each logit, without the bias, times the number of places."""
        values = F.relu(self.conv1x1(self.dropout(features)))
        return torch.einsum("bdhw,cd->bchw", values, self.classifier.weight)


RECIPES = Path(__file__).parents[2] / "recipes"
# Options of each slot head that differ from the defaults; those of the direct form are in its recipe.
SLOT_HEADS: dict[str, dict[str, Any]] = {
    "paper": {"hidden_dim": 64, "to_k_layers": 3},
    "qknorm": {"attention": "qknorm", "hidden_dim": 64, "to_k_layers": 3},
    "direct": {},
}
RECIPE_HEADS = {"direct": "direct.txt"}


def recipe_of(head: str) -> argparse.Namespace | None:
    """Flags in a head's recipe; None for a head without a recipe."""
    return expand_runs(parse_args([f"@{RECIPES / RECIPE_HEADS[head]}"]))[0] if head in RECIPE_HEADS else None


def head_options(head: str) -> dict[str, Any]:
    """The options of a slot head, from its recipe or from :data:`SLOT_HEADS`."""
    recipe = recipe_of(head)
    return slot_options(recipe) if recipe else SLOT_HEADS[head]


LOSS_OPTIONS = ("label_smoothing", "temperature", "absent_weight")


def loss_options(head: str) -> dict[str, float]:
    """Options of a head's training loss, :data:`LOSS_OPTIONS`, from its recipe; empty for the defaults."""
    recipe = recipe_of(head)
    return {name: getattr(recipe, name) for name in LOSS_OPTIONS} if recipe else {}


def build_head(
    name: str, *, f: int, grid: tuple[int, int], num_classes: int, sign: int, changes: dict[str, Any]
) -> tuple[FeatureModel, bool]:
    """Build a head; returns it, and whether its slots start at the class means.

    Args:
        name: one of :data:`studies.head_study.flags.HEADS`.
        f: channels of the features.
        grid: (h, w) of the features.
        num_classes: c.
        sign: +1 or -1, for slot heads.
        changes: fields of :class:`sloter.config.SlotConfig` that replace the head's own.
    """
    if name == "linear":
        return Linear(f, num_classes, dropout=0.5), False
    if name == "baseline":
        return Baseline(f, num_classes, dim=512, dropout=0.5), False
    config = slot_config({**head_options(name), "slots_per_class": 1, "loss_status": sign, **changes})
    head = SlotModel(NoBackbone(), config, num_classes=num_classes, in_chans=f, img_size=grid)
    return head, config.slot_init == "means"


def parts_of(head: FeatureModel, features: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (b, c, h, w) of all classes for and against each class, not negative.

    They are the positive and the negative contributions to the logits of a head without slots.
    """
    if isinstance(head, SlotModel):
        parts = head.parts(head(features))
        return parts.why, parts.why_not
    contributions = head.contributions(features)  # type: ignore[operator]
    return contributions.clamp_min(0), -contributions.clamp_max(0)


def maps_of(head: FeatureModel, features: Tensor) -> Tensor:
    """Maps (b, c, h, w) that a head shows: evidence for each class or, for a negative slot head, against it."""
    why, why_not = parts_of(head, features)
    return why_not if isinstance(head, SlotModel) and head.sign < 0 else why


def class_weights_of(head: FeatureModel) -> nn.Parameter:
    """The weights of a head that belong to single classes: slots (k, d), or rows of the linear layer (c, d)."""
    return head.slot.initial_slots if isinstance(head, SlotModel) else head.classifier.weight  # type: ignore

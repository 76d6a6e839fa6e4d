"""The heads that are compared, all on a frozen feature map that is given instead of a picture."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sloter.backbone import FeatureModel
from sloter.slot_model import SlotModel, SlotOutput


class Given(nn.Module):
    """A backbone that has already done its work."""

    def forward_features(self, features: Tensor) -> Tensor:
        """(b, f, h, w) as they are."""
        return features


class Linear(FeatureModel):
    """Pooling, dropout and one linear layer: the plain classifier; its maps are CAM, which Grad-CAM equals here."""

    def __init__(self, f: int, num_classes: int, *, dropout: float) -> None:
        super().__init__(Given())
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(f, num_classes)

    def forward(self, features: Tensor) -> SlotOutput:
        """(b, f, h, w) to logits."""
        return SlotOutput(self.classifier(self.dropout(features.mean((2, 3)))))

    def maps(self, features: Tensor) -> Tensor:
        """(b, c, h, w): what each place adds to each logit, where that is positive."""
        return torch.einsum("bfhw,cf->bchw", features, self.classifier.weight).clamp_min(0)


class Control(FeatureModel):
    """A 1x1 convolution, ReLU, pooling and one linear layer: as large as the slots' head, without attention."""

    def __init__(self, f: int, num_classes: int, *, dim: int, dropout: float) -> None:
        super().__init__(Given())
        self.dropout, self.conv1x1 = nn.Dropout2d(dropout), nn.Conv2d(f, dim, 1)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, features: Tensor) -> SlotOutput:
        """(b, f, h, w) to logits."""
        return SlotOutput(self.classifier(F.relu(self.conv1x1(self.dropout(features))).mean((2, 3))))

    def maps(self, features: Tensor) -> Tensor:
        """(b, c, h, w): what each place adds to each logit, where that is positive."""
        values = F.relu(self.conv1x1(self.dropout(features)))
        return torch.einsum("bdhw,cd->bchw", values, self.classifier.weight).clamp_min(0)


# What each slot head is, as build_model's keywords, and whether its slots start at the class means.
SLOT_HEADS: dict[str, tuple[dict[str, Any], bool]] = {
    "paper": ({"attention": "paper", "hidden_dim": 64, "to_k_layers": 3, "iters": 3}, False),
    "qknorm": ({"attention": "qknorm", "hidden_dim": 64, "to_k_layers": 3, "iters": 3}, False),
    "direct": (
        {
            "attention": "qknorm",
            "tau": 4.0,
            "salience": 2.5,
            "floor": True,
            "worth": "equal",
            "position": "none",
            "hidden_dim": 512,
            "to_k_layers": 0,
            "iters": 1,
            "dropout": 0.3,
        },
        True,
    ),
}
HEADS = ("linear", "control", *SLOT_HEADS)
LOSS: dict[str, dict[str, float]] = {"direct": {"label_smoothing": 0.2, "temperature": 2.0}}  # where not as usual


def build_head(
    name: str, *, f: int, grid: tuple[int, int], num_classes: int, sign: int, changes: dict[str, Any]
) -> tuple[FeatureModel, bool]:
    """A head, and whether its slots start at the class means.

    Args:
        name: one of :data:`HEADS`.
        f: channels of the features.
        grid: (h, w) of the features.
        num_classes: c.
        sign: +1 or -1; only slot heads know the latter.
        changes: keywords of :class:`SlotModel` that are otherwise than usual, and ``slot_init``.
    """
    if name == "linear":
        return Linear(f, num_classes, dropout=0.5), False
    if name == "control":
        return Control(f, num_classes, dim=512, dropout=0.5), False
    options, means = SLOT_HEADS[name]
    options = {"worth": "mean", "dropout": 0.0, **options, **changes}
    means = {"means": True, "random": False}[options.pop("slot_init", "means" if means else "random")]
    head = SlotModel(
        Given(), in_chans=f, img_size=grid, num_classes=num_classes, slots_per_class=1, loss_status=sign, **options
    )
    return head, means


def maps_of(head: FeatureModel, features: Tensor) -> Tensor:
    """(b, c, h, w), the maps of all classes: attention of slot heads, contributions of the others."""
    own = getattr(head, "maps", None)
    return own(features) if own else head(features).attn.sum(2)

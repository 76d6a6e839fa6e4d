"""The two classifiers, SCOUTER and the plain one it is compared with, and how they are built."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sloter import ModelError
from sloter.backbone import FeatureModel, TimmModel, create_backbone, grid_features
from sloter.position_encode import sine_position_encoding
from sloter.slot_attention import SlotAttention


class SlotOutput(NamedTuple):
    """What a classifier returns; a plain one fills the logits alone.

    ``logits == sign * (attn.sum(2) * values[:, None]).sum((-2, -1))``, where sign is +1 for a positive and -1
    for a negative model: the explanation is the score.
    """

    logits: Tensor  # (b, c)
    attn: Tensor | None = None  # (b, c, s, h, w)
    values: Tensor | None = None  # (b, h, w)


POSITIONS = ("sine", "none")
# What a place of learned worth is worth at first: the logits of a negative model start nearly alike, and need more.
WORTH_START = {1: 128.0, -1: 256.0}


def feature_salience(features: Tensor, power: float) -> Tensor:
    """How much there is at each place: the length of its features next to the picture's largest, to a power.

    A convolutional backbone that was trained on objects answers to them with long feature vectors and to their
    surroundings with short ones, whatever the classes.

    Args:
        features: (b, f, h, w), of the backbone.
        power: the higher, the fewer places.

    Returns:
        (b, h * w) in [0, 1].
    """
    length = features.float().flatten(2).norm(dim=1)  # (b, n)
    # A picture without any features is nowhere salient; powers below 1 have no slope at 0.
    relative = length / length.amax(1, keepdim=True).clamp_min(torch.finfo(length.dtype).tiny)
    return relative.clamp_min(1e-6) ** power


class SlotModel(FeatureModel):
    """SCOUTER: backbone, 1x1 convolution, xSlot attention (equations 1 to 6 of the paper).

    Args:
        backbone: a timm model without classifier.
        in_chans: channels of the picture.
        img_size: (H, W) for which the grid is laid out; other sizes work where the backbone takes them.
        loss_status: +1 for a positive model, -1 for a negative one.
        position: ``sine`` adds the position code to what keys are made of, ``none`` does not.
        dropout: share of the backbone's channels that the head does without in each training step, whole channels.
        salience: power of :func:`feature_salience`, by which attention is scaled; 0 leaves it.
        num_classes, hidden_dim, slots_per_class, iters, to_k_layers, attention, worth, tau, floor: see
            :class:`SlotAttention`.

    Raises:
        ModelError: the pictures are too small for a grid of at least 2x2 places.
    """

    def __init__(
        self,
        backbone: TimmModel,
        *,
        in_chans: int,
        img_size: tuple[int, int],
        num_classes: int,
        hidden_dim: int,
        slots_per_class: int,
        iters: int,
        to_k_layers: int,
        attention: str,
        loss_status: int,
        worth: str = "mean",
        position: str = "sine",
        dropout: float = 0.0,
        salience: float = 0.0,
        tau: float = 10.0,
        floor: bool = False,
    ) -> None:
        super().__init__(backbone)
        f, h, w = self.feature_shape(in_chans, img_size)
        if min(h, w) < 2:
            raise ModelError(
                f"img_size {img_size[0]}x{img_size[1]} is too small for a grid: this backbone makes {h}x{w} places "
                "of it and at least 2x2 are needed; give a larger --img_size or an earlier --out_stage"
            )
        self.sign = loss_status
        # Channels, not single numbers: a slot sums over places, so that what one lacks its neighbours would have.
        self.dropout = nn.Dropout2d(dropout)
        self.conv1x1 = nn.Conv2d(f, hidden_dim, kernel_size=1)
        if position not in POSITIONS:
            raise ValueError(f"unknown position {position!r}: choose one of {', '.join(POSITIONS)}")
        self.has_position = position == "sine"
        self.position: Tensor
        self.register_buffer("position", sine_position_encoding(h, w, hidden_dim), persistent=False)
        self.slot = SlotAttention(
            num_classes,
            slots_per_class,
            hidden_dim,
            iters=iters,
            to_k_layers=to_k_layers,
            attention=attention,
            worth=worth,
            worth_start=WORTH_START[loss_status],
            num_positions=h * w,
            tau=tau,
            floor=floor,
        )
        self.salience = salience

    def forward(self, images: Tensor) -> SlotOutput:
        """(b, ch, H, W) normalised pictures to logits and their explanation."""
        return self.explain_features(grid_features(self.backbone, images))  # (b, f, h, w)

    def explain_features(self, features: Tensor) -> SlotOutput:
        """(b, f, h, w) features to logits and their explanation."""
        keys_in, values = self.places(features)  # (b, n, d) each
        h, w = features.shape[2:]
        salience = feature_salience(features, self.salience) if self.salience else None  # (b, n)
        evidence, attn, weight = self.slot(keys_in, values, salience)  # (b, c), (b, c, s, n), (b, n)
        return SlotOutput(self.sign * evidence, attn.unflatten(3, (h, w)), weight.unflatten(1, (h, w)))

    def mean_keys(self, images: Tensor) -> Tensor:
        """(b, ch, H, W) pictures to the mean (b, d) over places of their keys, as the slots meet them."""
        keys_in, _ = self.places(grid_features(self.backbone, images))  # (b, n, d)
        return self.slot.scores.keys(self.slot.to_k(keys_in.float())).mean(1)  # (b, d)

    def start_slots(self, means: Tensor, counts: Tensor) -> None:
        """Start each class's slots at what sets its mean key apart, a negative model's at the opposite.

        A slot of a positive model is then drawn to places that are like its class and unlike the others, one of a
        negative model, which denies, to places that are unlike it. Several slots of a class start a little apart.

        Args:
            means: (c, d), of :meth:`mean_keys` of each class.
            counts: (c), pictures behind each mean; a class without any keeps its random slots.
        """
        known = counts > 0
        apart = means - means[known].mean(0)  # (c, d)
        slots = self.sign * apart / apart[known].std()
        s = self.slot.slots_per_class
        start = slots.repeat_interleave(s, 0)  # (k, d)
        if s > 1:
            start = start + 0.5 * torch.randn_like(start)
        with torch.no_grad():
            chosen = known.repeat_interleave(s)
            self.slot.initial_slots[chosen] = start[chosen]

    def places(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(b, f, h, w) features to what keys are made of and to values, each (b, n, d)."""
        values = torch.relu(self.conv1x1(self.dropout(features)))  # (b, d, h, w)
        _, d, h, w = values.shape
        position = self.position
        if position.shape[-2:] != (h, w):
            position = sine_position_encoding(h, w, d, device=values.device)
        keys_in = values + position if self.has_position else values  # (b, d, h, w)
        return keys_in.flatten(2).transpose(1, 2), values.flatten(2).transpose(1, 2)  # (b, n, d) each


class PlainClassifier(FeatureModel):
    """The backbone with timm's own classifier: what the paper calls FC."""

    def forward(self, images: Tensor) -> SlotOutput:
        """(b, ch, H, W) normalised pictures to logits."""
        return SlotOutput(self.backbone(images))


def build_model(
    *,
    backbone: str,
    num_classes: int,
    use_slot: bool = True,
    in_chans: int = 3,
    img_size: tuple[int, int] = (260, 260),
    out_stage: int | None = None,
    hidden_dim: int = 64,
    slots_per_class: int = 3,
    iters: int = 3,
    to_k_layers: int = 1,
    attention: str = "paper",
    worth: str = "mean",
    position: str = "sine",
    dropout: float = 0.0,
    salience: float = 0.0,
    tau: float = 10.0,
    floor: bool = False,
    loss_status: int = 1,
    stem: str = "timm",
    pretrained: bool = False,
    weights: dict[str, Tensor] | None = None,
    weights_source: str = "the weights given",
    freeze_stages: int = 0,
) -> SlotModel | PlainClassifier:
    """Build SCOUTER, or with ``use_slot=False`` the plain classifier, from plain values.

    All but the last four arguments describe the model and are what a checkpoint stores; the last four say
    where the backbone's weights come from and how much of it stays as it is.

    Raises:
        ModelError: see :func:`create_backbone`, :class:`SlotModel` and :meth:`FeatureModel.freeze`.
    """
    body = create_backbone(
        backbone,
        num_classes=0 if use_slot else num_classes,
        in_chans=in_chans,
        img_size=img_size,
        pretrained=pretrained,
        weights=weights,
        weights_source=weights_source,
        out_stage=out_stage,
        stem=stem,
    )
    model: SlotModel | PlainClassifier
    if use_slot:
        model = SlotModel(
            body,
            in_chans=in_chans,
            img_size=img_size,
            num_classes=num_classes,
            hidden_dim=hidden_dim,
            slots_per_class=slots_per_class,
            iters=iters,
            to_k_layers=to_k_layers,
            attention=attention,
            worth=worth,
            position=position,
            dropout=dropout,
            salience=salience,
            tau=tau,
            floor=floor,
            loss_status=loss_status,
        )
    else:
        model = PlainClassifier(body)
        model.feature_shape(in_chans, img_size)  # fails early for pictures that the backbone cannot take
    model.freeze(freeze_stages)
    return model


def restore_model(
    config: dict[str, Any], weights: dict[str, Tensor], *, img_size: tuple[int, int], source: str
) -> SlotModel | PlainClassifier:
    """The model of a checkpoint, in evaluation mode.

    Args:
        config: keywords of :func:`build_model`, as the checkpoint has them.
        weights: its state dict.
        img_size: (H, W) of the pictures to come.
        source: where it comes from, for the message.

    Raises:
        ModelError: see :func:`build_model`; weights that do not fit.
    """
    model = build_model(**{**config, "img_size": img_size})
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:160]
        raise ModelError(f"{source}: its weights do not fit its model ({reason})") from error
    model.eval()
    return model

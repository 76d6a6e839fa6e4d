"""The two classifiers, SCOUTER and the plain one it is compared with, and how they are built."""

from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sloter import ModelError
from sloter.backbone import FeatureModel, TimmModel, create_backbone, grid_features
from sloter.config import SlotConfig, slot_config
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
        config: the options of the slot head.
        num_classes: c.
        in_chans: channels of the picture.
        img_size: (H, W) for which the grid is laid out; other sizes work where the backbone takes them.

    Raises:
        ModelError: the pictures are too small for a grid of at least 2x2 places.
    """

    def __init__(
        self, backbone: TimmModel, config: SlotConfig, *, num_classes: int, in_chans: int, img_size: tuple[int, int]
    ) -> None:
        super().__init__(backbone)
        f, h, w = self.feature_shape(in_chans, img_size)
        if min(h, w) < 2:
            raise ModelError(
                f"img_size {img_size[0]}x{img_size[1]} is too small: this backbone makes a grid of {h}x{w} places of "
                "it and the slots need at least 2x2; give a larger --img_size or an earlier --out_stage"
            )
        self.sign, self.salience = config.loss_status, config.salience
        # Whole channels, not single numbers: a slot sums over places, so the neighbours would make up for a lost one.
        self.dropout = nn.Dropout2d(config.dropout)
        self.conv1x1 = nn.Conv2d(f, config.hidden_dim, kernel_size=1)
        self.has_position = config.position == "sine"
        self.position: Tensor
        self.register_buffer("position", sine_position_encoding(h, w, config.hidden_dim), persistent=False)
        options = asdict(config)
        dim, slots_per_class = options.pop("hidden_dim"), options.pop("slots_per_class")
        self.slot = SlotAttention(num_classes, slots_per_class, dim, num_positions=h * w, **options)

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
        return self.slot.normaliser.keys(self.slot.to_k(keys_in.float())).mean(1)  # (b, d)

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
    stem: str = "timm",
    pretrained: bool = False,
    weights: dict[str, Tensor] | None = None,
    weights_source: str = "the weights given",
    freeze_stages: int = 0,
    **options: Any,
) -> SlotModel | PlainClassifier:
    """Build SCOUTER, or with ``use_slot=False`` the plain classifier, from plain values.

    A checkpoint stores the arguments up to ``stem`` and the options.

    Args:
        backbone: a model name of timm.
        num_classes: c.
        use_slot: False for the plain classifier, which has no options.
        in_chans: channels of the picture.
        img_size: (H, W) of the pictures.
        out_stage: end the backbone after this stage, 1 to 4; None for the whole backbone.
        stem, pretrained, weights, weights_source: see :func:`create_backbone`.
        freeze_stages: see :meth:`FeatureModel.freeze`.
        options: fields of :class:`sloter.config.SlotConfig`.

    Raises:
        ModelError: see :func:`create_backbone`, :class:`SlotModel` and :meth:`FeatureModel.freeze`; an unknown option,
            or one out of bounds.
    """
    config = slot_config(options)
    body = create_backbone(
        backbone, num_classes=0 if use_slot else num_classes, in_chans=in_chans, img_size=img_size,
        pretrained=pretrained, weights=weights, weights_source=weights_source, out_stage=out_stage, stem=stem,
    )  # fmt: skip
    model: SlotModel | PlainClassifier
    if use_slot:
        model = SlotModel(body, config, num_classes=num_classes, in_chans=in_chans, img_size=img_size)
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

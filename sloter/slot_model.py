"""SCOUTER, the plain classifier that it is compared with, and the functions that build both."""

from dataclasses import asdict
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sloter import ModelError
from sloter.backbone import FeatureModel, TimmModel, create_backbone, grid_features
from sloter.config import OPTIONS, SlotConfig, picture_size, slot_config
from sloter.position_encode import sine_position_encoding
from sloter.reference import EvidenceParts, evidence_parts
from sloter.slot_attention import SlotAttention, over_slots


class SlotOutput(NamedTuple):
    """Output of a classifier; the plain classifier fills the logits only.

    The maps sum to the logits: ``logits == sign * (attn.sum(2) * values[:, None]).sum((-2, -1))``, where sign is +1 for
    a positive and -1 for a negative model.
    """

    logits: Tensor  # (b, c)
    attn: Tensor | None = None  # (b, c, s, h, w)
    values: Tensor | None = None  # (b, h, w)

    @property
    def evidence(self) -> Tensor:
        """Evidence (b, c, h, w) of a slot model; its sum over the grid is the logit, for a negative model minus it."""
        assert self.attn is not None and self.values is not None
        return over_slots(self.attn) * self.values[:, None]


def feature_salience(features: Tensor, power: float) -> Tensor:
    """Compute the salience of each place: its feature norm relative to the largest in the picture, to a power.

    A convolutional backbone that was trained on objects gives feature vectors of large norm on objects of any class,
    and of small norm on their surroundings.

    Args:
        features: (b, f, h, w) from the backbone.
        power: a higher power leaves fewer places salient.

    Returns:
        (b, h * w) in [0, 1].
    """
    norm = features.float().flatten(2).norm(dim=1)  # (b, n)
    # Where all features are zero, nothing is salient.
    relative = norm / norm.amax(1, keepdim=True).clamp_min(torch.finfo(norm.dtype).tiny)
    return relative.clamp_min(1e-6) ** power  # the gradient of a power below 1 is infinite at 0


class SlotModel(FeatureModel):
    """SCOUTER: backbone, 1x1 convolution, xSlot attention (equations 1 to 6 of the paper).

    Args:
        backbone: a timm model without classifier.
        config: options of the slot head.
        num_classes: c.
        in_chans: channels of the picture.
        img_size: (H, W) of the pictures; ``forward`` takes other sizes, too, if the backbone does.

    Raises:
        ModelError: the grid has fewer than 2x2 places.
    """

    def __init__(
        self, backbone: TimmModel, config: SlotConfig, *, num_classes: int, in_chans: int, img_size: tuple[int, int]
    ) -> None:
        super().__init__(backbone)
        f, h, w = self.feature_shape(in_chans, img_size)
        if min(h, w) < 2:
            raise ModelError(
                f"--img_size {img_size[0]}x{img_size[1]} is too small: this backbone makes a grid of {h}x{w} places, "
                "and the slots need at least 2x2; give a larger --img_size or an earlier --out_stage"
            )
        self.sign, self.salience = config.loss_status, config.salience
        # Whole channels, not single elements: slots sum over places, so neighbours would make up for a dropped element.
        self.dropout = nn.Dropout2d(config.dropout)
        self.conv1x1 = nn.Conv2d(f, config.hidden_dim, kernel_size=1)
        self.has_position = config.position == "sine"
        self.position: Tensor
        self.register_buffer("position", sine_position_encoding(h, w, config.hidden_dim), persistent=False)
        options = asdict(config)
        dim, slots_per_class = options.pop("hidden_dim"), options.pop("slots_per_class")
        self.slot = SlotAttention(num_classes, slots_per_class, dim, num_positions=h * w, **options)

    def forward(self, images: Tensor) -> SlotOutput:
        """Classify normalised pictures (b, ch, H, W) and explain their logits."""
        return self.explain_features(grid_features(self.backbone, images))  # (b, f, h, w)

    def explain_features(self, features: Tensor) -> SlotOutput:
        """Compute logits and their explanation from features (b, f, h, w) of the backbone."""
        keys_in, values = self.slot_inputs(features)  # (b, n, d) each
        h, w = features.shape[2:]
        salience = feature_salience(features, self.salience) if self.salience else None  # (b, n)
        evidence, attn, weight = self.slot(keys_in, values, salience)  # (b, c), (b, c, s, n), (b, n)
        return SlotOutput(self.sign * evidence, attn.unflatten(3, (h, w)), weight.unflatten(1, (h, w)))

    def parts(self, output: SlotOutput) -> EvidenceParts:
        """Split the evidence of an output of this model in evaluation mode: for, against, and common to the classes."""
        return evidence_parts(
            output.evidence, sign=self.sign, kind=self.slot.reference, quantile=self.slot.reference_quantile
        )  # fmt: skip

    def mean_keys(self, images: Tensor) -> Tensor:
        """Compute the mean (b, d) over places of the normalised keys of pictures (b, ch, H, W)."""
        keys_in, _ = self.slot_inputs(grid_features(self.backbone, images))  # (b, n, d)
        return self.slot.normaliser.keys(self.slot.to_k(keys_in.float())).mean(1)  # (b, d)

    def start_slots(self, means: Tensor, counts: Tensor) -> None:
        """Set the initial slots to the difference of each class's mean key from that of all classes, times the sign.

        A slot of a positive model then attends to places that resemble its class more than the other classes, a slot of
        a negative model to places that do not. Several slots of a class differ by noise.

        Args:
            means: (c, d), mean of :meth:`mean_keys` over the pictures of each class.
            counts: (c), number of pictures of each class; a class without pictures keeps its random slots, and so does
                a single class.
        """
        known = counts > 0
        if known.sum() < 2:
            return  # a single class does not differ from the mean of all classes: its slots stay random
        difference = means - means[known].mean(0)  # (c, d)
        slots = self.sign * difference / difference[known].std()  # (c, d)
        s = self.slot.slots_per_class
        start = slots.repeat_interleave(s, 0)  # (k, d)
        if s > 1:
            start = start + 0.5 * torch.randn_like(start)
        with torch.no_grad():
            chosen = known.repeat_interleave(s)
            self.slot.initial_slots[chosen] = start[chosen]

    def slot_inputs(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the input of the keys and the values, (b, n, d) each, from features (b, f, h, w)."""
        values = torch.relu(self.conv1x1(self.dropout(features)))  # (b, d, h, w)
        _, d, h, w = values.shape
        position = self.position
        if position.shape[-2:] != (h, w):
            position = sine_position_encoding(h, w, d, device=values.device)
        keys_in = values + position if self.has_position else values  # (b, d, h, w)
        return keys_in.flatten(2).transpose(1, 2), values.flatten(2).transpose(1, 2)  # (b, n, d) each


class PlainClassifier(FeatureModel):
    """Plain classifier: the backbone with timm's own classifier, FC in the paper."""

    def forward(self, images: Tensor) -> SlotOutput:
        """Classify normalised pictures (b, ch, H, W)."""
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
    weights_source: str = "the given state dict",
    freeze_stages: int = 0,
    **options: Any,
) -> SlotModel | PlainClassifier:
    """Build SCOUTER, or with ``use_slot=False`` the plain classifier, from plain values.

    A checkpoint stores the arguments up to ``stem``, and the options.

    Args:
        backbone: model name in timm.
        num_classes: c.
        use_slot: False for the plain classifier, which ignores the options.
        in_chans: channels of the picture.
        img_size: (H, W) of the pictures.
        out_stage: last stage of the backbone, 1 to 4; None for the whole backbone.
        stem, pretrained, weights, weights_source: see :func:`sloter.backbone.create_backbone`.
        freeze_stages: see :meth:`sloter.backbone.FeatureModel.freeze`.
        options: fields of :class:`sloter.config.SlotConfig`.

    Raises:
        ModelError: an unknown or invalid option, or an error of the functions above.
    """
    if unknown := [name for name in options if name not in OPTIONS]:
        own = ("backbone", "num_classes", *(build_model.__kwdefaults__ or ()))
        raise ModelError(f"unknown keyword '{unknown[0]}' of build_model: choose one of {', '.join((*own, *OPTIONS))}")
    config, img_size = slot_config(options), picture_size(img_size)
    if not isinstance(num_classes, Integral) or int(num_classes) < 1:
        raise ModelError(f"num_classes {num_classes!r}: give a whole number from 1")
    body = create_backbone(
        backbone, num_classes=0 if use_slot else num_classes, in_chans=in_chans, img_size=img_size,
        pretrained=pretrained, weights=weights, weights_source=weights_source, out_stage=out_stage, stem=stem,
    )  # fmt: skip
    model: SlotModel | PlainClassifier
    if use_slot:
        model = SlotModel(body, config, num_classes=num_classes, in_chans=in_chans, img_size=img_size)
    else:
        model = PlainClassifier(body)
        model.feature_shape(in_chans, img_size)  # raises early for pictures that the backbone cannot take
    model.freeze(freeze_stages)
    return model


def restore_model(
    config: dict[str, Any], weights: dict[str, Tensor], *, img_size: tuple[int, int], source: str
) -> SlotModel | PlainClassifier:
    """Build the model of a checkpoint, in evaluation mode.

    Args:
        config: keywords of :func:`build_model`, as stored in the checkpoint.
        weights: state dict of the model.
        img_size: (H, W) of the pictures.
        source: name of the checkpoint in messages.

    Raises:
        ModelError: see :func:`build_model`, or weights that do not fit.
    """
    try:
        _check_sizes(slot_config({k: v for k, v in config.items() if k in OPTIONS}), config, weights)
        model = build_model(**{**config, "img_size": img_size})
    except ModelError as error:
        raise error if source in str(error) else ModelError(f"{source}: {error}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:160]
        raise ModelError(f"{source}: its weights do not fit its model ({reason}); give another checkpoint") from error
    model.eval()
    return model


def _check_sizes(slots: SlotConfig, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Compare sizes with the weights before a model of these sizes is built, which could take all memory.

    Raises:
        ModelError: they disagree.
    """
    c, found = config["num_classes"], None
    if config["use_slot"]:
        expected = (c * slots.slots_per_class, slots.hidden_dim)  # (k, d)
        found = tuple(weights["slot.initial_slots"].shape) if "slot.initial_slots" in weights else None
        fits, text = expected == found, f"slot.initial_slots of shape {expected}, not {found}"
    else:
        fits = any(weight.ndim and weight.shape[0] == c for weight in weights.values())
        text = f"a classifier of {c} classes"
    if not fits:
        raise ModelError(f"its weights do not fit its model (it needs {text}); give another checkpoint")

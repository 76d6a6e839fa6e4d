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


class SlotModel(FeatureModel):
    """SCOUTER: backbone, 1x1 convolution, xSlot attention (equations 1 to 6 of the paper).

    Args:
        backbone: a timm model without classifier.
        in_chans: channels of the picture.
        img_size: (H, W) for which the grid is laid out; other sizes work where the backbone takes them.
        loss_status: +1 for a positive model, -1 for a negative one.
        num_classes, hidden_dim, slots_per_class, iters, to_k_layers, attention: see :class:`SlotAttention`.

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
    ) -> None:
        super().__init__(backbone)
        f, h, w = self.feature_shape(in_chans, img_size)
        if min(h, w) < 2:
            raise ModelError(
                f"img_size {img_size[0]}x{img_size[1]} is too small for a grid: this backbone makes {h}x{w} places "
                "of it and at least 2x2 are needed; give a larger --img_size or an earlier --out_stage"
            )
        self.sign = loss_status
        self.conv1x1 = nn.Conv2d(f, hidden_dim, kernel_size=1)
        self.position: Tensor
        self.register_buffer("position", sine_position_encoding(h, w, hidden_dim), persistent=False)
        self.slot = SlotAttention(
            num_classes,
            slots_per_class,
            hidden_dim,
            iters=iters,
            to_k_layers=to_k_layers,
            attention=attention,
            num_positions=h * w,
        )

    def forward(self, images: Tensor) -> SlotOutput:
        """(b, ch, H, W) normalised pictures to logits and their explanation."""
        features = grid_features(self.backbone, images)  # (b, f, h, w)
        values = torch.relu(self.conv1x1(features))  # (b, d, h, w)
        _, d, h, w = values.shape
        position = self.position
        if position.shape[-2:] != (h, w):
            position = sine_position_encoding(h, w, d, device=values.device)
        keys_in = (values + position).flatten(2).transpose(1, 2)  # (b, n, d)
        evidence, attn, weight = self.slot(keys_in, values.flatten(2).transpose(1, 2))  # (b, c), (b, c, s, n), (b, n)
        return SlotOutput(self.sign * evidence, attn.unflatten(3, (h, w)), weight.unflatten(1, (h, w)))


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

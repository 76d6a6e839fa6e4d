"""Classifiers of the study: training on frozen features, and the trained head on its backbone."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer
from engine.explain.slots import slot_explainer
from sloter.backbone import FeatureModel, TimmModel, grid_features
from sloter.slot_model import SlotModel, SlotOutput
from studies.field.data import FieldData
from studies.field.plan import Model
from studies.head_study.heads import Linear, build_head, head_options, loss_options, maps_of
from studies.head_study.train import Setting, train_head
from tools import ToolError
from tools.files import write_atomically

# A result of a training depends on this code.
TRAINING_CODE = ("sloter", "dataset", "engine/train.py", "engine/evaluate.py", "engine/accuracy.py", "engine/optim.py",
                 "engine/optim_step.py", "engine/slot_init.py", "tools/distributed/meters.py", "studies/head_study",
                 "studies/field/models.py", "studies/field/data.py")  # fmt: skip
WITHOUT_SLOTS = ("linear", "baseline")


def setting_of(model: Model, *, epochs: int, batch_size: int, seed: int) -> Setting:
    """Setting of the training of a model; what the study does not set is that of the head's recipe."""
    return Setting(
        head=model.head, sign=model.sign, lr=model.lr, epochs=epochs, batch_size=batch_size, seed=seed,
        amp=None, changes=dict(model.changes), **{**loss_options(model.head), **model.loss},
    )  # fmt: skip


def described(setting: Setting) -> dict[str, Any]:
    """Setting as plain types, with all options of its slot head."""
    own = {} if setting.head in WITHOUT_SLOTS else {"options": {**head_options(setting.head), **setting.changes}}
    return asdict(setting) | own


def train(data: FieldData, setting: Setting, file: Path) -> dict[str, Any]:
    """Train a head on the features, write its weights to a file, and return its metrics on the validation split.

    Raises:
        TrainingError: the loss is not finite.
    """
    head, metrics = train_head(*data.features, setting, data.device)
    file.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    write_atomically(file, safetensors.torch.save(state))
    return metrics


class OnBackbone(nn.Module):
    """A trained head on its frozen backbone: a classifier of pictures.

    Args:
        backbone: the timm model, without a classifier.
        head: takes its feature map.
    """

    def __init__(self, backbone: TimmModel, head: FeatureModel) -> None:
        super().__init__()
        self.backbone: TimmModel = backbone
        self.head = head

    def forward(self, images: Tensor) -> SlotOutput:
        """Output of the head for normalised pictures (b, ch, H, W)."""
        return self.head(grid_features(self.backbone, images))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (b, c) of normalised pictures (b, ch, H, W)."""
        return self(images).logits

    def explainer(self) -> Explainer:
        """The maps that the model shows itself: its attention, or the positive contributions to its logits."""
        if isinstance(self.head, SlotModel):
            return slot_explainer(self, "attention")

        @torch.no_grad()
        def explain(images: Tensor, targets: Tensor) -> Tensor:
            maps = maps_of(self.head, grid_features(self.backbone, images))  # (b, c, h, w)
            return maps.gather(1, targets[:, :, None, None].expand(-1, -1, *maps.shape[2:]))  # (b, t, h, w)

        return explain


def restore(data: FieldData, setting: Setting, file: Path) -> OnBackbone:
    """The classifier of pictures with the head that :func:`train` wrote."""
    images = torch.zeros(1, data.in_chans, *data.chosen.img_size, device=data.device)
    with torch.no_grad():
        f, h, w = grid_features(data.backbone, images).shape[1:]
    head, _ = build_head(
        setting.head, f=f, grid=(h, w), num_classes=data.classes, sign=setting.sign, changes=setting.changes
    )
    head.load_state_dict(safetensors.torch.load_file(file))
    return OnBackbone(data.backbone, head.to(data.device)).eval()


def as_plain(data: FieldData, model: OnBackbone) -> SplitModel:
    """The linear head as the classifier of a whole timm model, as the attribution methods need it.

    Raises:
        ToolError: the classifier of this backbone is not pooling and one linear layer.
    """
    head, remedy = model.head, "choose another --model, or leave linear out of --models"
    whole = data.chosen.build(data.classes, data.in_chans).to(data.device)
    layer = whole.get_classifier()
    assert isinstance(head, Linear)
    if not isinstance(layer, nn.Linear) or layer.weight.shape != head.classifier.weight.shape:
        raise ToolError(f"the classifier of {data.chosen.name} is not one linear layer: {remedy}")
    layer.load_state_dict(head.classifier.state_dict())
    split = SplitModel(whole, image_shape=(data.in_chans, *data.chosen.img_size)).to(data.device).eval()
    images = torch.randn(2, data.in_chans, *data.chosen.img_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = model.logits(images.to(data.device)), split(images.to(data.device))
    if not torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise ToolError(f"the classifier of {data.chosen.name} has more than pooling and a linear layer: {remedy}")
    return split

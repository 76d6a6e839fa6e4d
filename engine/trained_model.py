"""Model of a checkpoint, with its class names, picture statistics, data and explanations."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dataset.loaders import DeviceLoader, build_loader, normalised_picture
from dataset.pictures import PictureDataset
from dataset.registry import build_validation
from dataset.transforms import resized
from engine.cost import cost_of
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer
from engine.explain.slots import Explanation, explain_picture, slot_explainer
from sloter.backbone import grid_features
from sloter.slot_model import PlainClassifier, SlotModel, restore_model
from tools import ToolError, checkpoint, distributed


class TrainedModel:
    """Trained model, ready for evaluation and explanation.

    Args:
        path: path of the checkpoint.
        state: content of the checkpoint, from :func:`tools.checkpoint.load`.
        device: device of the model.
        img_size: (H, W) of the pictures; None for the size in training.
        channels_last: use channels-last memory format for model and batches.

    Attributes:
        model: the model in evaluation mode, on the device.
        statistics: ``mean`` and ``std`` of the training pictures, ch values each, for pixel values in [0, 1].
        img_size: (H, W) of the pictures.

    Raises:
        ModelError: see :func:`sloter.slot_model.restore_model`.
    """

    def __init__(
        self, path: str | Path, state: dict[str, Any], *, device: torch.device,
        img_size: tuple[int, int] | None = None, channels_last: bool = False,
    ) -> None:  # fmt: skip
        self.path, self.state, self.device = Path(path), state, device
        self.config: dict[str, Any] = state["model_config"]
        self.img_size = (img_size[0], img_size[1]) if img_size else tuple(self.config["img_size"])
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        model = restore_model(self.config, state["model"], img_size=self.img_size, source=str(path))
        self.model: SlotModel | PlainClassifier = model.to(device).to(memory_format=self.memory_format)
        self.statistics = {key: state["data_config"][key] for key in ("mean", "std")}
        self._names = state["data_config"].get("class_names")

    @classmethod
    def open(
        cls, path: str | Path, *, device: torch.device, img_size: tuple[int, int] | None = None,
        channels_last: bool = False,
    ) -> "TrainedModel":  # fmt: skip
        """Open a checkpoint of this project or of the published code; arguments as for the class.

        Raises:
            ToolError: see :func:`tools.checkpoint.load`.
            ModelError: see :func:`sloter.slot_model.restore_model`.
        """
        return cls(path, checkpoint.load(path), device=device, img_size=img_size, channels_last=channels_last)

    @property
    def class_names(self) -> list[str]:
        """Names of the outputs: the checkpoint's, else those of :meth:`load_split`, else numbers."""
        return self._names or [str(label) for label in range(self.config["num_classes"])]

    @property
    def run(self) -> str:
        """Name of the run, including the suffix of a numbered or best copy."""
        return checkpoint.run_of(self.path)

    @property
    def in_chans(self) -> int:
        """Channels of the model's pictures."""
        return self.config["in_chans"]

    @property
    def is_negative(self) -> bool:
        """Whether the model is a negative one."""
        return self.config["use_slot"] and self.config["loss_status"] < 0

    def load_split(self, dataset: str, **data_config: Any) -> PictureDataset:
        """Load the validation split of a dataset, with as many classes as the model has outputs.

        Args:
            dataset: its name.
            data_config: keywords of :func:`dataset.registry.build_dataset`.

        Raises:
            DataError: see :func:`dataset.registry.build_validation`.
        """
        with distributed.main_first():
            data = build_validation(dataset, in_chans=self.in_chans, class_names=self._names, **data_config)
        self._names = self._names or data.class_names  # checkpoints of the published code have none
        return data

    def loader(
        self, data: PictureDataset, *, batch_size: int, num_workers: int = 0, shared: bool = True
    ) -> DeviceLoader:  # fmt: skip
        """Batches of a split: this process's share or, with ``shared=False``, all of them."""
        rank, world_size = (distributed.rank(), distributed.world_size()) if shared else (0, 1)
        return build_loader(
            data, batch_size=batch_size, train=False, device=self.device, num_workers=num_workers, rank=rank,
            world_size=world_size, memory_format=self.memory_format, **self.statistics,
        )  # fmt: skip

    def pixels(self, picture: Image.Image) -> Tensor:
        """Pixels (ch, H, W) of a grey or RGB picture at the model's size, uint8 on the CPU."""
        return resized(picture, self.img_size)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Normalise (ch, H, W) uint8 pixels for the model, on its device."""
        return normalised_picture(pixels.to(self.device), **self.statistics)

    def explain(self, picture: Image.Image) -> Explanation:
        """Explain a grey or RGB picture of any size for every class, with one forward pass.

        Raises:
            ToolError: the model is a plain classifier, which has no maps of its own.
        """
        self.check_explains_itself()
        return explain_picture(self.model, self.normalised(self.pixels(picture)))

    def explainer(self, kind: str) -> Explainer:
        """Explainer that gives the slot maps; ``kind`` is a key of :data:`engine.explain.slots.MAPS`."""
        return slot_explainer(self.model, kind)

    def check_explains_itself(self) -> None:
        """Raise unless the model has slots.

        Raises:
            ToolError: the model is a plain classifier.
        """
        if not self.config["use_slot"]:
            raise ToolError(f"{self.path} is a plain classifier, which has no maps of its own: train a slot "
                            "model with --use_slot true, or use torchcam_vis.py")  # fmt: skip

    def split_model(self, layer: str | None = None) -> SplitModel:
        """Plain classifier, split into features and head for attribution methods, which explain ``layer``."""
        shape = (self.in_chans, *self.img_size)
        return SplitModel(self.model.backbone, image_shape=shape, layer=layer).eval()

    def feature_map(self, images: Tensor) -> Tensor:
        """The backbone's feature map (b, f, h, w) of normalised pictures (b, ch, H, W)."""
        return grid_features(self.model.backbone, images)

    def cost(self) -> str:
        """Table of the parameters, and of the multiply-adds for one picture."""
        return cost_of(self.model, torch.zeros(1, self.in_chans, *self.img_size, device=self.device))

    def beside(self, run: str) -> "TrainedModel | None":
        """Model of another run in the same folder, at its own picture size; None if there is none that fits."""
        path = checkpoint.checkpoint_path(self.path.parent, run)
        if not path.is_file():
            return None
        state = checkpoint.load(path)
        if any(state["model_config"][key] != self.config[key] for key in ("num_classes", "in_chans")):
            return None
        return TrainedModel(path, state, device=self.device)

"""Model of a checkpoint, with its class names, picture statistics, data and explanations."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from dataset import DataError
from dataset.classes import differing_names, distinct_names, few, fingerprint, outputs_of
from dataset.given import given_picture, listed
from dataset.loaders import DeviceLoader, build_loader, normalised_picture
from dataset.pictures import PictureDataset
from dataset.registry import build_validation, warn_of_training_pictures
from dataset.transforms import resized
from engine.cost import cost_of
from engine.explain.attribution.split_model import SplitModel
from engine.explain.interface import Explainer
from engine.explain.result import PictureExplanation
from engine.explain.slots import explain_pictures, slot_explainer
from engine.known_pictures import known_pictures
from engine.pretrained import read_folder, save_folder
from sloter.backbone import grid_features
from sloter.config import complete_config, picture_size
from sloter.slot_model import PlainClassifier, SlotModel, restore_model
from tools import ToolError, checkpoint, distributed
from tools.console import say
from tools.files import read_json
from tools.machine import memory_format
from tools.provenance import file_fingerprint

logger = logging.getLogger(__name__)

SPLIT = ("val_ratio", "val_from_train", "cross_validation", "held_out")  # keywords that choose the validation pictures


class TrainedModel:
    """Trained model, ready for evaluation and explanation.

    Args:
        path: path of the checkpoint.
        state: content of the checkpoint, from :func:`tools.checkpoint.load`.
        device: device of the model.
        img_size: (H, W) of the pictures; None for the size in training.
        channels_last: use channels-last memory format for model and batches.
        reading: options with the effect ``reading`` (:mod:`sloter.config`) that replace those of the checkpoint.

    Attributes:
        model: in evaluation mode, on the device.
        statistics: ``mean`` and ``std`` of the training pictures, ch values each, for pixel values in [0, 1].
        img_size: (H, W) of the pictures.
        checkpoint_id: fingerprint of the file when it was opened.
        order: output of each class of :attr:`class_names`; None if they are in the same order.

    Raises:
        ModelError: see :func:`sloter.slot_model.restore_model`.
    """

    def __init__(
        self, path: str | Path, state: dict[str, Any], *, device: torch.device,
        img_size: tuple[int, int] | None = None, channels_last: bool = False,
        reading: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.path, self.state, self.device, self.reading = Path(path), state, device, dict(reading or {})
        self.checkpoint_id = file_fingerprint(self.path)  # now: a training may replace the file while this is measured
        self.config = complete_config(state["model_config"])
        if self.config["use_slot"]:
            self.config |= self.reading
        self.img_size = picture_size(self.config["img_size"] if img_size is None else img_size)
        self.memory_format = memory_format(channels_last)
        model = restore_model(self.config, state["model"], img_size=self.img_size, source=str(path))
        self.model: SlotModel | PlainClassifier = model.to(device).to(memory_format=self.memory_format)
        self.statistics = {key: state["data_config"][key] for key in ("mean", "std")}
        self._names: list[str] | None = state["data_config"].get("class_names")
        self.order: Tensor | None = None  # (c)

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

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: torch.device, revision: str | None = None
    ) -> "TrainedModel":  # fmt: skip
        """Open a folder of :meth:`save_pretrained` or a repository of the Hugging Face hub.

        Raises:
            ToolError: see :func:`engine.pretrained.read_folder`.
            ModelError: see :func:`sloter.slot_model.restore_model`.
        """
        path, state = read_folder(name, revision=revision)
        return cls(path, state, device=device)

    def save_pretrained(
        self, folder: str | Path, *, half: bool = False, licence: str = "unknown", about: str = ""
    ) -> Path:  # fmt: skip
        """Write the model as model.safetensors, config.json and a model card, README.md; returns the folder.

        The card has the accuracy of results.json beside the checkpoint, if that is of this checkpoint.

        Args:
            folder: see :func:`engine.pretrained.save_folder`.
            half: store the weights in half precision; they are read in single precision.
            licence: identifier of the model's licence on the hub, such as ``apache-2.0``.
            about: paragraph of the card, such as the command that trained the model.

        Raises:
            ToolError: see :func:`engine.pretrained.save_folder`.
        """
        own = {"model_config": {**self.config, "img_size": self.img_size}}
        return save_folder(
            folder, {**self.state, **own}, self.model.state_dict(), half=half, licence=licence, about=about,
            results=self._results(),
        )  # fmt: skip

    def _results(self) -> dict[str, Any]:
        """Content of results.json beside the checkpoint; empty if there is none of this checkpoint."""
        file = self.path.with_name("results.json")
        results = (read_json(file) if file.is_file() else None) or {}
        own = results.get("checkpoint_id") == self.checkpoint_id
        return results if own and results.get("img_size") == list(self.img_size) else {}

    @property
    def class_names(self) -> list[str]:
        """Names of the outputs: the checkpoint's, else those of :meth:`load_split`, else numbers."""
        names = self._names or [str(label) for label in range(self.config["num_classes"])]
        return distinct_names(names, range(len(names)))

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
        return self.config["use_slot"] and self.config.get("loss_status", 1) < 0

    def load_split(self, dataset: str, *, split: str = "val", **data_config: Any) -> PictureDataset:
        """Load a split of a dataset, with the model's outputs as labels, matched by the classes' names.

        Args:
            dataset: its name.
            split: ``train``, ``val`` or ``test``.
            data_config: keywords of :func:`dataset.registry.build_dataset`; those that choose the validation pictures
                are, if not given, those of the training.

        Raises:
            DataError: see :func:`dataset.registry.build_validation`.
        """
        stored = self.state["data_config"]
        other_draw = data_config.get("val_ratio", stored.get("val_ratio")) != stored.get("val_ratio")
        kept = [name for name in SPLIT if name in stored and not (name == "held_out" and other_draw)]
        data_config = {name: stored[name] for name in kept} | data_config
        with distributed.main_first():
            data_config["known"] = known_pictures(data_config.get("dataset_dir"))
            data = build_validation(
                dataset, in_chans=self.in_chans, class_names=self._names, split=split,
                wnids=stored.get("wnids"), **data_config,
            )  # fmt: skip
        if split == "test" and distributed.is_main():
            warn_of_training_pictures(dataset, data.listing, **data_config)
        if data.listing.source:
            say(f"{split} pictures: {data.listing.source}")
        self._names = data.class_names  # old checkpoints have none, or the same name twice
        return data

    def provenance(self, data: PictureDataset | None) -> dict[str, Any]:
        """Origin of a result: the data, the size of the pictures, and the fingerprint of the checkpoint.

        Args:
            data: the whole split; None for pictures of the user.
        """
        own = {"dataset": "own pictures", "classes": fingerprint(sorted(self.class_names))}
        read = {"reference": self.reference} if self.config["use_slot"] else {}
        return {**(data.origin if data else own), "img_size": list(self.img_size), **read,
                "checkpoint_id": self.checkpoint_id}  # fmt: skip

    @property
    def reference(self) -> str:
        """Reference of the evidence in words, such as ``quantile 0.9``; ``none`` for the published form."""
        kind = self.config.get("reference", "none")
        return f"{kind} {self.config['reference_quantile']:g}" if kind == "quantile" else kind

    def loader(
        self, data: PictureDataset, *, batch_size: int, num_workers: int = 0, shared: bool = True
    ) -> DeviceLoader:  # fmt: skip
        """Batches of a split: this process's share or, with ``shared=False``, all of them."""
        rank, world_size = (distributed.rank(), distributed.world_size()) if shared else (0, 1)
        return build_loader(
            data, batch_size=batch_size, train=False, device=self.device, num_workers=num_workers, rank=rank,
            world_size=world_size, memory_format=self.memory_format, gather=distributed.gather, **self.statistics,
        )  # fmt: skip

    def pixels(self, picture: Image.Image) -> Tensor:
        """Pixels (ch, H, W) of a grey or RGB picture at the model's size, uint8 on the CPU."""
        return resized(picture, self.img_size)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Normalise (ch, H, W) uint8 pixels for the model, on its device."""
        return normalised_picture(pixels.to(self.device), **self.statistics)

    @overload
    def explain(self, picture: list[Any] | tuple[Any, ...], *, batch_size: int = 32) -> list[PictureExplanation]: ...
    @overload
    def explain(self, picture: Any, *, batch_size: int = 32) -> PictureExplanation: ...
    def explain(self, picture: Any, *, batch_size: int = 32) -> PictureExplanation | list[PictureExplanation]:
        """Explain a picture of any size for every class, with one forward pass; or several, in batches.

        Args:
            picture: a path, a Pillow picture, an array (H, W) or (H, W, ch), or a tensor (ch, H, W), uint8 or
                floating-point in 0..1, not normalised; or a list, a tuple or a batch of four dimensions of these.
            batch_size: pictures of a list that are computed together.

        Returns:
            The explanation or, of several pictures, a list in their order.

        Raises:
            ToolError: the model is a plain classifier, which has no maps of its own.
            DataError: see :func:`dataset.given.given_picture`.
            ValueError: ``batch_size`` is below 1.
        """
        self.check_explains_itself()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        several = listed(picture)
        if several is None:
            return self._explained([self.pixels(given_picture(picture, self.in_chans))])[0]
        found: list[PictureExplanation] = []
        for start in range(0, len(several), batch_size):
            pixels = []
            for number, one in enumerate(several[start : start + batch_size], start):
                try:
                    pixels.append(self.pixels(given_picture(one, self.in_chans)))
                except DataError as error:
                    raise DataError(f"picture {number} of the list: {error}") from error
            found += self._explained(pixels)
        return found

    def _explained(self, pixels: list[Tensor]) -> list[PictureExplanation]:
        """Explanations of pictures (ch, H, W) uint8 of the model's size, with one forward pass."""
        images = self.normalised(torch.stack(pixels)).to(memory_format=self.memory_format)
        explanations = explain_pictures(self.model, images)
        if self.order is not None:
            explanations = [explanation.of_outputs(self.order) for explanation in explanations]
        return [
            PictureExplanation(
                **vars(explanation), class_names=self.class_names, picture=to_pil_image(own), negative=self.is_negative
            )
            for explanation, own in zip(explanations, pixels, strict=True)
        ]

    def explainer(self, kind: str) -> Explainer:
        """Explainer that gives the slot maps; ``kind`` is a key of :data:`engine.explain.slots.MAPS`."""
        explain, order = slot_explainer(self.model, kind), self.order
        if order is None:
            return explain
        return lambda images, targets: explain(images, order.to(targets.device)[targets])

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
        """Model of another run in the same folder, at its own picture size; None if there is none that fits.

        Its maps are for the classes of this model, matched by name; a model of other classes is left out with a note.
        """
        path = checkpoint.checkpoint_path(self.path.parent, run)
        if not path.is_file():
            return None
        state = checkpoint.load(path)
        if (chans := state["model_config"]["in_chans"]) != self.in_chans:
            logger.warning("%s is left out: it takes %d channels, %s %d", path, chans, self.path, self.in_chans)
            return None
        other = TrainedModel(path, state, device=self.device, reading=self.reading)
        names, own = other._names, self.state["data_config"].get("class_names")
        if names is None or own is None:
            order = [*range(len(self.class_names))] if len(other.class_names) == len(self.class_names) else None
            if order:
                logger.warning("%s beside %s: one of them has no class names, so their classes are matched by their "
                               "order", path, self.path)  # fmt: skip
        else:
            order = outputs_of(other.class_names, distinct_names(own, range(len(own))))
        if order is None:
            only, missing = differing_names(other.class_names, self.class_names)
            logger.warning("%s is left out: its classes are not those of %s: it has %s, which the other does not, and "
                           "lacks %s", path, self.path, few(only) or "none", few(missing) or "none")  # fmt: skip
            return None
        if order != sorted(order):
            other.order = torch.tensor(order)
        other._names = self._names
        return other

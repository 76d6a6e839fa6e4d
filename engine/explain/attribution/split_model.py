"""A classifier in two parts, features and head, with a layer between them that attribution methods look at."""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from engine.explain.interface import Explainer
from tools import ToolError

TimmModel = Any  # an nn.Module with forward_features and forward_head

# Letters beside those of the models: t classes asked for, p = b*t pairs of a picture and a class, m masks of a chunk.


@contextlib.contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """In evaluation mode and with frozen parameters while it lasts, gradients of other tensors enabled."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval().requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextlib.contextmanager
def on_output(layer: nn.Module, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """While it lasts, what the layer returns goes through ``change`` (None keeps it)."""
    handle = layer.register_forward_hook(lambda module, args, output: change(output))
    try:
        yield
    finally:
        handle.remove()


class SplitModel(nn.Module):
    """A timm-like classifier as ``head(tap(features(images)))``, with plain logits (b, c).

    It holds the backbone given, so that parameters and modes are shared.

    Args:
        backbone: has ``forward_features``, giving (b, f, h, w), and ``forward_head``.
        image_shape: (ch, H, W) of the pictures; one of zeros goes through once, to look at the shapes.
        layer: name of the backbone's submodule to look at; by default the tap behind the last feature map.

    Raises:
        ToolError: the features or the layer's output are no map of channels and more than one place, the layer does
            not exist, or it does not run exactly once.
    """

    def __init__(self, backbone: TimmModel, *, image_shape: tuple[int, int, int], layer: str | None = None) -> None:
        super().__init__()
        self.backbone: TimmModel = backbone
        self.tap = nn.Identity()
        self.layer_name = "tap" if layer is None else f"backbone.{layer}"
        names = [name for name, _ in backbone.named_modules(remove_duplicate=False) if name]
        if layer is not None and layer not in names:
            near = difflib.get_close_matches(layer, names, n=3, cutoff=0.4)
            hint = f": did you mean {', '.join(near)}?" if near else ": see the model's named_modules()"
            raise ToolError(f"unknown layer '{layer}' in {type(backbone).__name__}{hint}")
        self.image_shape = image_shape
        self.map_shape, self.layer_shape, self.num_classes = self._look(image_shape)

    @property
    def layer(self) -> nn.Module:
        """The module whose output is explained; not an attribute, so that it is registered only once."""
        return self.get_submodule(self.layer_name)

    @property
    def name_of_layer(self) -> str:
        """The layer as the user calls it."""
        return self.layer_name.removeprefix("backbone.")

    @property
    def at_tap(self) -> bool:
        """Whether the layer is the last feature map, so that only the head follows."""
        return self.layer_name == "tap"

    def features(self, images: Tensor) -> Tensor:
        """(b, ch, H, W) to the last feature map (b, f, h, w)."""
        return self.backbone.forward_features(images)

    def head(self, feature_map: Tensor) -> Tensor:
        """(b, f, h, w) to logits (b, c)."""
        return self.backbone.forward_head(feature_map)

    def forward(self, images: Tensor) -> Tensor:
        """(b, ch, H, W) normalised pictures to logits (b, c)."""
        return self.head(self.tap(self.features(images)))

    def _look(self, image_shape: tuple[int, int, int]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        seen: list[Any] = []
        parameter = next(self.parameters(), torch.zeros(()))
        image = torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype)
        with quiet(self), torch.no_grad():
            features = self.features(image)
            kind = type(self.backbone).__name__
            if getattr(self.backbone, "output_fmt", "NCHW") != "NCHW" or features.ndim != 4:
                shape = tuple(features.shape)
                raise ToolError(
                    f"{kind} gives features of shape {shape}, no map (b, f, h, w): choose a convolutional --model"
                )
            with on_output(self.layer, seen.append):
                logits = self(image)
        name = self.name_of_layer
        if len(seen) != 1:
            raise ToolError(f"layer '{name}' of {kind} runs {len(seen)} times for a picture: choose one that runs once")
        output = seen[0]
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
            what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ToolError(
                f"layer '{name}' of {kind} returns {what} of {image_shape[1]}x{image_shape[2]} pictures: "
                "choose one with a map (b, f, h, w) of several places, or larger pictures"
            )
        return tuple(features.shape[1:]), tuple(output.shape[1:]), logits.shape[1]


def forward_from_leaf(model: SplitModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's output (b, f, h, w) as the leaf of a graph that ends at the logits (b, c)."""
    seen: list[Tensor] = []

    def leaf(output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # what follows may work in place

    with on_output(model.layer, leaf):
        logits = model(images)
    return seen[-1], logits


def each_pair(function: Explainer, images: Tensor, targets: Tensor, size: int) -> Tensor:
    """Call ``function`` with pictures (p, ch, H, W) and classes (p), at most ``size`` at a time.

    Returns:
        what it returned, (p, ...), as (b, t, ...).
    """
    pictures, classes = images.repeat_interleave(targets.shape[1], 0), targets.flatten()  # (p, ch, H, W), (p)
    maps = [function(*chunk) for chunk in zip(pictures.split(size), classes.split(size), strict=True)]
    return torch.cat(maps).unflatten(0, targets.shape)  # (b, t, ...)

"""Split of a classifier into features and head, with access to the layer that attribution methods explain."""

import contextlib
import difflib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sloter.backbone import TimmModel
from sloter.grid import reason
from sloter.stages import UNSUPPORTED
from tools import ToolError

# Shape letters in addition to those of sloter: t explained classes, p pairs of a picture and a class (b*t of them), m
# masks of a chunk.


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Context with a model in evaluation mode and its parameters frozen; gradients of other tensors are enabled."""
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
    """Context in which ``change`` replaces the output of a layer; it may return None to keep the output."""
    handle = layer.register_forward_hook(lambda module, args, output: change(output))
    try:
        yield
    finally:
        handle.remove()


class SplitModel(nn.Module):
    """Classifier as ``head(tap(features(images)))``, which returns plain logits (b, c).

    It shares parameters and modes with the given backbone.

    Args:
        backbone: a timm model; its ``forward_features`` must return (b, f, h, w).
        image_shape: (ch, H, W) of the pictures; the shapes of the features are found by one forward pass of zeros.
        layer: name of the backbone's submodule to explain; by default the tap, an identity after the last feature map.

    Raises:
        ToolError: the features or the layer's output are not (b, f, h, w), the output has a single place, or the layer
            does not exist or does not run exactly once.
    """

    def __init__(self, backbone: TimmModel, *, image_shape: tuple[int, int, int], layer: str | None = None) -> None:
        super().__init__()
        self.backbone: TimmModel = backbone
        self.tap = nn.Identity()
        self.layer_path = "tap" if layer is None else f"backbone.{layer}"
        names = [name for name, _ in backbone.named_modules(remove_duplicate=False) if name]
        if layer is not None and layer not in names:
            near = difflib.get_close_matches(layer, names, n=3, cutoff=0.4)
            hint = f": did you mean {', '.join(near)}?" if near else ": choose one of its named_modules()"
            raise ToolError(f"unknown layer '{layer}' in {type(backbone).__name__}{hint}")
        self.image_shape = image_shape
        self.map_shape, self.layer_shape, self.num_classes = self._probe(image_shape)

    @property
    def layer(self) -> nn.Module:
        """Module whose output is explained; not an attribute, so that it is registered only once."""
        return self.get_submodule(self.layer_path)

    @property
    def layer_name(self) -> str:
        """Name of the layer as in ``--cam_layer``."""
        return self.layer_path.removeprefix("backbone.")

    @property
    def at_tap(self) -> bool:
        """Whether the layer is the last feature map, so that only the head follows."""
        return self.layer_path == "tap"

    def features(self, images: Tensor) -> Tensor:
        """Last feature map (b, f, h, w) of pictures (b, ch, H, W)."""
        return self.backbone.forward_features(images)

    def head(self, feature_map: Tensor) -> Tensor:
        """Logits (b, c) of a last feature map (b, f, h, w)."""
        return self.backbone.forward_head(feature_map)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, c) of normalised pictures (b, ch, H, W)."""
        return self.head(self.tap(self.features(images)))

    def _probe(self, image_shape: tuple[int, int, int]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Shapes of the features and of the layer's output, and the number of classes."""
        seen: list[Any] = []
        parameter = next(self.parameters(), torch.zeros(()))
        image = torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype)
        with frozen(self), torch.no_grad():
            kind = type(self.backbone).__name__
            try:
                features = self.features(image)
            except UNSUPPORTED as error:
                raise ToolError(f"{kind} gives no features of {image_shape[1]}x{image_shape[2]} pictures "
                                f"({reason(error)}): choose another --img_size or --model") from error  # fmt: skip
            if getattr(self.backbone, "output_fmt", "NCHW") != "NCHW" or getattr(features, "ndim", 0) != 4:
                shape = f"of shape {tuple(features.shape)}" if isinstance(features, Tensor) else "of several tensors"
                raise ToolError(f"{kind} gives features {shape}, not (b, f, h, w): attribution methods need such a "
                                "map; choose a convolutional --model")  # fmt: skip
            with on_output(self.layer, seen.append):
                logits = self(image)
        name = self.layer_name
        if len(seen) != 1:
            raise ToolError(f"layer '{name}' of {kind} runs {len(seen)} times for a picture: choose one that runs once")
        output = seen[0]
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
            what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ToolError(
                f"layer '{name}' of {kind} returns {what} for {image_shape[1]}x{image_shape[2]} pictures: "
                "choose one with a map (b, f, h, w) of several places, or a larger --img_size"
            )
        return tuple(features.shape[1:]), tuple(output.shape[1:]), logits.shape[1]


def forward_from_leaf(model: SplitModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Layer output (b, f, h, w) as the leaf of a graph, and the logits (b, c) at its end."""
    seen: list[Tensor] = []

    def leaf(output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # the next modules may work in place

    with on_output(model.layer, leaf):
        logits = model(images)
    return seen[-1], logits


def each_pair(function: Callable[[Tensor, Tensor], Tensor], images: Tensor, targets: Tensor, size: int) -> Tensor:
    """Call a function on all pairs of a picture with one of its classes, at most ``size`` pairs at a time.

    Args:
        function: maps pictures (p, ch, H, W) and classes (p) to (p, ...).
        images: (b, ch, H, W).
        targets: (b, t).
        size: largest p.

    Returns:
        (b, t, ...).
    """
    pictures, classes = images.repeat_interleave(targets.shape[1], 0), targets.flatten()  # (p, ch, H, W), (p)
    maps = [function(*chunk) for chunk in zip(pictures.split(size), classes.split(size), strict=True)]
    return torch.cat(maps).unflatten(0, targets.shape)  # (b, t, ...)

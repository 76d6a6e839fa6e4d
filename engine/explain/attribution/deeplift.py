"""DeepLIFT of a layer, by captum (Shrikumar et al., ICML 2017, section 3, rescale rule).

It explains the difference between the logit and that of the mean picture (all zeros after normalisation).
"""

import contextlib
import warnings
from collections.abc import Iterator

import torch
from captum.attr import DeepLift as CaptumDeepLift
from captum.attr import LayerDeepLift
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR, nonlinear
from torch import Tensor, nn

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, each_pair
from tools import ToolError


class _Head(nn.Module):
    def __init__(self, model: SplitModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, feature_map: Tensor) -> Tensor:
        return self.model.head(feature_map)


# Elementwise activations that captum does not know and for which its rescale rule holds too; by name, since timm has
# classes of its own for some.
ELEMENTWISE = {"ReLU6", "GELU", "SiLU", "Swish", "Mish", "Hardswish", "HardSwish", "Hardsigmoid", "HardSigmoid"}


@contextlib.contextmanager
def _tidy(model: nn.Module) -> Iterator[None]:
    """Register more activations with captum, and remove the tensors that it leaves on modules without a gradient."""
    before = [(module, set(module.__dict__)) for module in model.modules()]
    known = dict(SUPPORTED_NON_LINEAR)
    kinds = {type(module) for module in model.modules() if type(module).__name__ in ELEMENTWISE}
    SUPPORTED_NON_LINEAR.update(dict.fromkeys(kinds, nonlinear))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\s*Setting forward, backward hooks")
            yield
    finally:
        SUPPORTED_NON_LINEAR.clear()
        SUPPORTED_NON_LINEAR.update(known)
        for module, names in before:
            for name in {"input", "output", "input_ref"} - names:
                module.__dict__.pop(name, None)


class DeepLift:
    """DeepLIFT of the layer, summed over its channels; ``gap`` is the completeness gap of the last call.

    On the last feature map captum only sees the head, so that modules used twice before it do not matter. The rescale
    rule covers elementwise activations and max pooling. Other nonlinear modules after the layer (layer norms,
    squeeze-and-excitation gates, channel attention) enter with their gradient and leave a gap; so does a shortcut past
    the layer, since its share of the logit is not the layer's.
    """

    def __init__(self, model: SplitModel, options: MethodSettings) -> None:
        self.model, self.options = model, options
        self.gap: float | None = None
        """Mean over pictures and classes of |sum of the map - (logit - logit of the mean picture)|."""

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Explain pictures (b, ch, H, W) and classes (b, t) by maps (b, t, h, w).

        Raises:
            ToolError: a module after the layer is used twice, which captum cannot follow.
        """
        zero = torch.zeros_like(images[:1])
        with torch.no_grad():
            change = (self.model(images) - self.model(zero)).gather(1, targets)  # (b, t)
        try:
            with _tidy(self.model):
                # Of the last feature map the classes differ in the head alone.
                inputs = self.model.features(images).detach() if self.model.at_tap else images
                maps = each_pair(self._attribute, inputs, targets, self.options.batch_size).detach()  # (b, t, h, w)
        except RuntimeError as error:
            if "used more than once" not in str(error):
                raise
            raise ToolError(
                f"DeepLIFT cannot follow {type(self.model.backbone).__name__} from layer '{self.model.layer_name}', "
                "because a module after it is used twice: choose a later --cam_layer or another method"
            ) from error
        self.gap = float((maps.sum((2, 3)) - change).abs().mean())
        return maps

    def _attribute(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """Maps (p, h, w) for feature maps (p, f, h, w), or for pictures if the layer is another one."""
        if self.model.at_tap:
            with torch.no_grad():
                zero = inputs.new_zeros(1, *self.model.image_shape)
                reference = self.model.features(zero).expand_as(inputs)  # (p, f, h, w)
            # Otherwise captum sets requires_grad, with a warning.
            return (
                CaptumDeepLift(_Head(self.model)).attribute(inputs.requires_grad_(), reference, target=classes).sum(1)
            )
        layered = LayerDeepLift(self.model, self.model.layer)
        return layered.attribute(inputs.requires_grad_(), torch.zeros_like(inputs), target=classes).sum(1)

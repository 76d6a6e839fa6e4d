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
from torch.nn import functional as F

from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, each_pair
from tools import ToolError


class _Recorded(nn.Module):
    """The head of a classifier, or all of it, which keeps the logits of its last call."""

    def __init__(self, model: SplitModel) -> None:
        super().__init__()
        self.model = model
        self.logits = torch.empty(0)

    def forward(self, inputs: Tensor) -> Tensor:
        logits = self.model.head(inputs) if self.model.at_tap else self.model(inputs)
        self.logits = logits.detach()
        return logits


# Elementwise activations that captum does not know and for which its rescale rule holds too; by name, since timm has
# classes of its own for some.
ELEMENTWISE = {"ReLU6", "GELU", "SiLU", "Swish", "Mish", "Hardswish", "HardSwish", "Hardsigmoid", "HardSigmoid"}


@contextlib.contextmanager
def _tidy(model: nn.Module) -> Iterator[None]:
    """Register more activations with captum, and remove the tensors that it leaves on modules without a gradient."""
    before = [(module, set(module.__dict__)) for module in model.modules()]
    known = dict(SUPPORTED_NON_LINEAR)
    kinds = {type(module) for module in model.modules() if type(module).__name__ in ELEMENTWISE}
    SUPPORTED_NON_LINEAR.update({**dict.fromkeys(kinds, nonlinear), nn.MaxPool2d: _max_pool})
    # captum hooks tensors: of two such modules in a row, the first would see the gradient before the second's rule.
    hooks = [module.register_forward_pre_hook(_copies) for module in model.modules()
             if type(module) in SUPPORTED_NON_LINEAR]  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\s*Setting forward, backward hooks")
            yield
    finally:
        for hook in hooks:
            hook.remove()
        SUPPORTED_NON_LINEAR.clear()
        SUPPORTED_NON_LINEAR.update(known)
        for module, names in before:
            for name in {"input", "output", "input_ref"} - names:
                module.__dict__.pop(name, None)


def _copies(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.clone() for each in inputs)


def _max_pool(
    module: nn.MaxPool2d, inputs: Tensor, outputs: Tensor, grad_input: Tensor, grad_output: Tensor, eps: float = 1e-10
) -> Tensor:
    """Rescale rule of max pooling: what the change of each maximum contributes, at the places that are the maximum.

    captum's own rule keeps one of several contributions to a place, where windows overlap. The first half of each batch
    is of the pictures, the second of the references.
    """
    (picture, reference), (pooled, pooled_reference) = inputs.chunk(2), outputs.chunk(2)
    largest = torch.maximum(pooled, pooled_reference)
    steps = torch.cat([largest - pooled_reference, pooled - largest])
    places = F.max_pool2d(
        inputs,
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.ceil_mode,
        return_indices=True,
    )[1]
    shares = torch.zeros_like(inputs).flatten(2).scatter_add(2, places.flatten(2), (grad_output * steps).flatten(2))
    shares = torch.stack(shares.view_as(inputs).chunk(2)).sum(0)
    change = picture - reference
    slopes = torch.where(change.abs() < eps, 0, shares / change)
    return torch.where(change.abs().repeat(2, 1, 1, 1) < eps, grad_input, slopes.repeat(2, 1, 1, 1))


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
        inputs, zero, changes = images, torch.zeros_like(images[:1]), []
        if self.model.at_tap:  # the classes differ in the head alone
            with torch.no_grad():
                both = self.model.features(torch.cat([images, zero]))
            inputs, zero = both[:-1], both[-1:]

        def attribute(chosen: Tensor, classes: Tensor) -> Tensor:
            maps, change = self._attribute(chosen, zero, classes)
            changes.append(change)
            return maps

        try:
            with _tidy(self.model):
                maps = each_pair(attribute, inputs, targets, self.options.batch_size).detach()  # (b, t, h, w)
        except RuntimeError as error:
            if "used more than once" not in str(error):
                raise
            raise ToolError(
                f"DeepLIFT cannot follow {type(self.model.backbone).__name__} from layer '{self.model.layer_name}', "
                "because a module after it is used twice: choose a later --cam_layer or another method"
            ) from error
        self.gap = float((maps.sum((2, 3)) - torch.cat(changes).view_as(targets)).abs().mean())
        return maps

    def _attribute(self, inputs: Tensor, reference: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (p, h, w) and changes of the logits (p) for feature maps, or for pictures if the layer is another one.

        Args:
            inputs: (p, ...).
            reference: (1, ...), the same of the mean picture.
            classes: (p).
        """
        recorded = _Recorded(self.model)
        at_tap = self.model.at_tap
        method = CaptumDeepLift(recorded) if at_tap else LayerDeepLift(recorded, self.model.layer)
        # Otherwise captum sets requires_grad, with a warning.
        maps = method.attribute(inputs.requires_grad_(), reference.expand_as(inputs), target=classes).sum(1)
        whole, nothing = recorded.logits.chunk(2)  # captum appends the references to the inputs
        return maps, (whole - nothing).gather(1, classes[:, None])[:, 0]

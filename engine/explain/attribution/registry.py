"""Registry of the attribution methods for a plain classifier.

Each is an explainer: pictures (b, ch, H, W) and classes (b, t) to raw maps (b, t, h, w), higher where there is more
evidence for the class, at the method's own resolution.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.explain.attribution.cam import build_cam, build_gradient_cam
from engine.explain.attribution.deeplift import DeepLift
from engine.explain.attribution.extremal import build_extremal
from engine.explain.attribution.gradcampp import build_gradcampp, build_smoothgradcampp
from engine.explain.attribution.iba import build_iba
from engine.explain.attribution.igos import build_igos
from engine.explain.attribution.integrated_gradients import build_integrated_gradients
from engine.explain.attribution.occlusion import build_occlusion, windows
from engine.explain.attribution.rise import build_rise
from engine.explain.attribution.score_cam import build_score_cam
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel, frozen
from engine.explain.interface import Claim, Explainer, PictureBatch
from tools import ToolError

__all__ = ["METHODS", "Attribution", "Explainer", "Method", "MethodSettings", "SplitModel", "build_explainer"]

Builder = Callable[[SplitModel, MethodSettings, int, Iterable[PictureBatch] | None], Explainer]
"""(model, options, seed, loader) -> explainer."""

Cost = Callable[[SplitModel, MethodSettings, int], float]


@dataclass(frozen=True)
class Method:
    """Builder of an attribution method, and its cost."""

    builder: Builder
    cost: Cost
    """(model, options, t) -> forward passes for t maps of one picture, a backward pass counted as two."""
    slow: bool = False
    """Whether a picture takes hundreds of forward passes."""
    needs_loader: bool = False
    """Whether the builder needs pictures of the dataset."""
    complete: bool = False
    """Whether a map claims to sum to the logit minus that of the mean picture."""


def _behind(model: SplitModel, t: int) -> float:
    """Cost of t gradients of the layer, in forward passes; gradients of the head alone cost almost nothing."""
    return 0 if model.at_tap else 2 * t


def _gradient_cam(name: str) -> Method:
    return Method(lambda m, o, s, d: build_gradient_cam(name, m), lambda m, o, t: 1 + _behind(m, t))


def _score_cam(name: str, rounds: Callable[[MethodSettings], int]) -> Method:
    return Method(
        lambda m, o, s, d: build_score_cam(name, m, o, s), lambda m, o, t: 1 + m.layer_shape[0] * rounds(o), slow=True
    )


def _occlusion_cost(model: SplitModel, options: MethodSettings, t: int) -> float:
    forwards = 1
    size = model.image_shape[1:]
    for length, side, step in zip(size, *windows(options, (size[0], size[1])), strict=True):
        forwards *= -(-(length - side) // step) + 1
    return forwards + 1


METHODS: dict[str, Method] = {
    "CAM": Method(lambda m, o, s, d: build_cam(m), lambda m, o, t: 1),
    "GradCAM": _gradient_cam("GradCAM"),
    "GradCAMpp": Method(lambda m, o, s, d: build_gradcampp(m), lambda m, o, t: 1 + _behind(m, t)),
    "SmoothGradCAMpp": Method(
        lambda m, o, s, d: build_smoothgradcampp(m, o, s), lambda m, o, t: 1 + o.smooth_samples * (1 + _behind(m, t))
    ),
    "XGradCAM": _gradient_cam("XGradCAM"),
    "LayerCAM": _gradient_cam("LayerCAM"),
    "ScoreCAM": _score_cam("ScoreCAM", lambda o: 1),
    "SSCAM": _score_cam("SSCAM", lambda o: o.ss_samples),
    "ISCAM": _score_cam("ISCAM", lambda o: o.is_samples),
    "DeepLIFT": Method(lambda m, o, s, d: DeepLift(m, o), lambda m, o, t: 2 if m.at_tap else 6 * t, complete=True),
    "IntegratedGradients": Method(
        lambda m, o, s, d: build_integrated_gradients(m, o), lambda m, o, t: o.ig_steps * (1 + 2 * t), complete=True
    ),
    "Occlusion": Method(lambda m, o, s, d: build_occlusion(m, o), _occlusion_cost),
    "RISE": Method(lambda m, o, s, d: build_rise(m, o, s), lambda m, o, t: o.rise_masks, slow=True),
    "Extremal": Method(lambda m, o, s, d: build_extremal(m, o, s), lambda m, o, t: 3 * o.extremal_steps * t, slow=True),
    "IGOS": Method(
        # The search for the step size tries about three.
        lambda m, o, s, d: build_igos(m, o, s),
        lambda m, o, t: (3 + 3) * o.igos_ig_steps * o.igos_steps * t,
        slow=True,
    ),
    "IBA": Method(
        build_iba, lambda m, o, t: t if m.at_tap else (1 + 3 * o.iba_samples * o.iba_steps) * t, needs_loader=True
    ),
}


class Attribution:
    """Explainer that leaves the model, its gradients and the RNG state as they were, even after an error."""

    def __init__(self, name: str, model: SplitModel, method: Explainer) -> None:
        self.name, self.model, self.method = name, model, method

    @property
    def gap(self) -> float | None:
        """Completeness gap of the last call; None for methods without one."""
        return getattr(self.method, "gap", None)

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Explain normalised pictures (b, ch, H, W) and classes (b, t) by raw maps (b, t, h, w), detached.

        Raises:
            ToolError: the targets have another shape or a class that the model does not have; see also the method.
        """
        c = self.model.num_classes
        if targets.ndim != 2 or len(targets) != len(images):
            raise ToolError(f"targets of shape {tuple(targets.shape)} for {len(images)} pictures: give (b, t)")
        if targets.numel() == 0 or not 0 <= int(targets.min()) <= int(targets.max()) < c:
            raise ToolError(f"targets {targets.tolist()} are not classes of a model with {c}: give 0 to {c - 1}")
        with frozen(self.model):
            return self.method(images.detach(), targets).detach().float()


def claim_of(name: str, model: SplitModel) -> Claim | None:
    """What the maps of a method claim to sum to; None for a method whose maps claim no sum."""
    if not METHODS[name].complete:
        return None

    @torch.no_grad()
    def change(images: Tensor, classes: Tensor) -> Tensor:
        whole, nothing = model(images), model(torch.zeros_like(images[:1]))  # (b, c), (1, c)
        return (whole - nothing).gather(1, classes[:, None])[:, 0]

    return change


def build_explainer(
    name: str, model: SplitModel, *, loader: Iterable[PictureBatch] | None = None, seed: int = 0,
    options: MethodSettings | None = None,
) -> Attribution:  # fmt: skip
    """Build the explainer of an attribution method.

    Args:
        name: a key of :data:`METHODS`.
        model: the classifier in two parts.
        loader: batches of pictures, for methods with ``needs_loader``.
        seed: seed of all random draws; the same call gives the same maps.
        options: sample counts and sizes; None for the defaults.

    Raises:
        ToolError: an unknown name, a model that the method does not fit, or a missing loader.
    """
    if name not in METHODS:
        raise ToolError(f"unknown attribution method '{name}': choose one of {', '.join(METHODS)}")
    return Attribution(name, model, METHODS[name].builder(model, options or MethodSettings(), seed, loader))

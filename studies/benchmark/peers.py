"""The same attribution methods in other libraries, as their documentation calls them: one class after another."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torchcam.methods
from captum.attr import IntegratedGradients, LayerDeepLift, Occlusion
from torch import Tensor

from engine.explain.attribution.occlusion import windows
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel

Peer = Callable[[Tensor, Sequence[int]], object]
"""(picture (1, ch, H, W), classes) -> maps."""

GRADIENT_CAMS = ("GradCAM", "GradCAMpp", "SmoothGradCAMpp", "XGradCAM", "LayerCAM")
SCORE_CAMS = ("ScoreCAM", "SSCAM", "ISCAM")
GRAD_CAM_NAMES = {
    "GradCAM": "GradCAM", "GradCAMpp": "GradCAMPlusPlus", "XGradCAM": "XGradCAM", "LayerCAM": "LayerCAM",
    "ScoreCAM": "ScoreCAM",
}  # fmt: skip


def peers_of(name: str, model: SplitModel, options: MethodSettings, classifier: Any) -> dict[str, Peer]:
    """What computes the maps of a method, by library; none where no library has it.

    Args:
        name: of the method.
        model: the classifier.
        options: sample counts and sizes, the same as ours.
        classifier: the linear layer at its end, which CAM needs; None if it has none.
    """
    found: dict[str, Peer] = {}
    if name in (*GRADIENT_CAMS, *SCORE_CAMS) or (name == "CAM" and classifier is not None):
        found["torchcam"] = _torchcam(name, model, options, classifier)
    if name in GRAD_CAM_NAMES and importlib.util.find_spec("pytorch_grad_cam"):
        found["grad-cam"] = _grad_cam(name, model, options)
    if name in _CAPTUM:
        found["captum"] = _CAPTUM[name](model, options)
    return found


def _torchcam(name: str, model: SplitModel, options: MethodSettings, classifier: Any) -> Peer:
    extractor = getattr(torchcam.methods, name)
    keywords = {
        "CAM": {"fc_layer": classifier},
        "SmoothGradCAMpp": {"num_samples": options.smooth_samples, "std": options.smooth_std},
        "ScoreCAM": {"batch_size": options.batch_size},
        "SSCAM": {"batch_size": options.batch_size, "num_samples": options.ss_samples, "std": options.ss_std},
        "ISCAM": {"batch_size": options.batch_size, "num_samples": options.is_samples},
    }.get(name, {})

    def explain(image: Tensor, classes: Sequence[int]) -> object:
        with _evaluating(model, gradients=name in GRADIENT_CAMS), extractor(model, model.layer, **keywords) as cam:
            logits = model(image)
            more = {"retain_graph": True} if name in GRADIENT_CAMS else {}
            return [cam(c, logits, normalized=False, **more) for c in classes]

    return explain


def _grad_cam(name: str, model: SplitModel, options: MethodSettings) -> Peer:
    import pytorch_grad_cam  # type: ignore[import-not-found]
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # type: ignore[import-not-found]

    def explain(image: Tensor, classes: Sequence[int]) -> object:
        with (
            _evaluating(model, gradients=True),
            getattr(pytorch_grad_cam, GRAD_CAM_NAMES[name])(model=model, target_layers=[model.layer]) as cam,
        ):
            cam.batch_size = options.batch_size
            return [cam(input_tensor=image, targets=[ClassifierOutputTarget(c)]) for c in classes]

    return explain


def _deeplift(model: SplitModel, options: MethodSettings) -> Peer:
    def explain(image: Tensor, classes: Sequence[int]) -> object:
        with _evaluating(model, gradients=True):
            image = image.clone().requires_grad_()
            lift = LayerDeepLift(model, model.layer)
            return [lift.attribute(image, torch.zeros_like(image), target=c).sum(1).detach() for c in classes]

    return explain


def _integrated_gradients(model: SplitModel, options: MethodSettings) -> Peer:
    def explain(image: Tensor, classes: Sequence[int]) -> object:
        size = {"n_steps": options.ig_steps, "internal_batch_size": options.batch_size}
        with _evaluating(model, gradients=True):
            return [IntegratedGradients(model).attribute(image, target=c, **size).sum(1) for c in classes]

    return explain


def _occlusion(model: SplitModel, options: MethodSettings) -> Peer:
    def explain(image: Tensor, classes: Sequence[int]) -> object:
        sides, strides = windows(options, (image.shape[2], image.shape[3]))
        how = {
            "sliding_window_shapes": (image.shape[1], *sides), "strides": (image.shape[1], *strides),
            "perturbations_per_eval": options.batch_size,
        }  # fmt: skip
        with _evaluating(model, gradients=False):
            return [Occlusion(model).attribute(image, target=c, **how)[:, 0] for c in classes]

    return explain


_CAPTUM: dict[str, Callable[[SplitModel, MethodSettings], Peer]] = {
    "DeepLIFT": _deeplift, "IntegratedGradients": _integrated_gradients, "Occlusion": _occlusion,
}  # fmt: skip


@contextmanager
def _evaluating(model: SplitModel, *, gradients: bool) -> Iterator[None]:
    """Context with the model in evaluation mode; nothing is frozen, as in the documentation of the libraries."""
    model.eval()
    with torch.set_grad_enabled(gradients):
        yield
    model.zero_grad(set_to_none=True)

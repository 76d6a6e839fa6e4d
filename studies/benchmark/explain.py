"""Seconds for the maps of all classes of a picture: one forward pass of SCOUTER, and every attribution method."""

import argparse
import logging
import time
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from args import method_settings, model_config
from engine.explain.attribution.registry import METHODS, Attribution, build_explainer
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.slots import slot_explainer
from sloter.backbone import FeatureModel
from sloter.slot_model import build_model
from studies.benchmark.timing import seconds_each, wait_for
from tools import ToolError

logger = logging.getLogger(__name__)

CLASSES = (10, 100)
LONGEST = {True: 10.0, False: 60.0}  # seconds; a method that would take longer is extrapolated
ROUNDS = {True: 1, False: 3}
QUICK_METHODS = ("CAM", "GradCAM")  # used by --quick without --methods
# An extrapolated method runs a fraction of the usual rounds.
FEWER_ROUNDS = {"ss_samples": 1, "is_samples": 1, "ig_steps": 5, "rise_masks": 100, "extremal_steps": 10,
                "igos_steps": 1}  # fmt: skip


class NoiseBatch(NamedTuple):
    """Noise for the methods that need the features of many pictures."""

    images: Tensor  # (b, 3, H, W)


class Task(NamedTuple):
    """The explanation of one picture by a plain classifier.

    Attributes:
        run: the flags.
        split: the classifier.
        loader: pictures for the methods that need some.
        image: (1, 3, H, W).
        classes: (1, c), all of them.
    """

    run: argparse.Namespace
    split: SplitModel
    loader: list[NoiseBatch]
    image: Tensor
    classes: Tensor

    def explainer(self, name: str, settings: MethodSettings) -> Attribution:
        """Build the explainer of a method."""
        return build_explainer(name, self.split, loader=self.loader, seed=self.run.seed, options=settings)


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Explain one picture of noise by models with random weights, ``--model`` at ``--img_size``; returns table rows."""
    image = torch.randn(1, 3, *run.img_size, device=device)
    rows: dict[str, dict[str, Any]] = {}
    for c in CLASSES:
        for name, cell in column(run, device, image, c).items():
            rows.setdefault(name, {"explain": name})[f"{c} classes, s"] = cell
    return list(rows.values())


def column(run: argparse.Namespace, device: torch.device, image: Tensor, c: int) -> dict[str, str]:
    """Seconds of each method for c classes, as text; a tilde marks those that are extrapolated."""
    torch.manual_seed(run.seed)
    slot_model, plain = (random_model(run, device, c, use_slot=use_slot) for use_slot in (True, False))
    split, classes = SplitModel(plain.backbone, image_shape=(3, *run.img_size)), torch.arange(c, device=device)[None]
    task = Task(run, split, [NoiseBatch(torch.randn(16, 3, *run.img_size, device=device))], image, classes)
    explain = slot_explainer(slot_model, "attention")
    seconds = seconds_each(
        {"plain forward, no map": partial(forward, plain, image),
         "slot model, no map": partial(forward, slot_model, image), "SCOUTER": lambda: explain(image, classes)},
        rounds=20 * ROUNDS[run.quick], title=f"{c} classes", device=device,
    )  # fmt: skip
    cells = {name: f"{taken:.4f}" for name, taken in seconds.items()}
    for name in METHODS:
        if name in (run.methods or (QUICK_METHODS if run.quick else METHODS)):
            cells[name] = method_cell(task, name, forward_seconds=seconds["plain forward, no map"])
    return cells


def random_model(run: argparse.Namespace, device: torch.device, c: int, *, use_slot: bool) -> FeatureModel:
    """A model of c classes in evaluation mode, with random weights."""
    memory_format = torch.channels_last if run.channels_last else torch.contiguous_format
    flags = argparse.Namespace(**{**vars(run), "use_slot": use_slot})
    model = build_model(**model_config(flags, num_classes=c, in_chans=3)).eval()
    return model.to(device).to(memory_format=memory_format)


@torch.no_grad()
def forward(model: FeatureModel, image: Tensor) -> None:
    """Compute the logits, and discard them."""
    model(image)


def method_cell(task: Task, name: str, *, forward_seconds: float) -> str:
    """Seconds that a method takes for all classes.

    A method that would take too long is measured for one class with fewer rounds, and extrapolated by its number of
    forward passes; its text begins with a tilde. A method that cannot explain the model has "-".
    """
    run, device, settings = task.run, task.image.device, MethodSettings(**method_settings(task.run))
    try:
        explainer = task.explainer(name, settings)
    except ToolError as error:
        logger.warning("%s is left out: %s", name, error)
        return "-"
    c = task.classes.shape[1]
    cost = METHODS[name].cost(task.split, settings, c)
    if forward_seconds * cost <= LONGEST[run.quick]:
        explain_all = partial(explainer, task.image, task.classes)
        title = f"{name}, {c} classes"
        return f"{seconds_each({name: explain_all}, rounds=ROUNDS[run.quick], title=title, device=device)[name]:.3f}"
    start = time.perf_counter()
    fewer = MethodSettings(**{**method_settings(run), **FEWER_ROUNDS})
    task.explainer(name, fewer)(task.image, task.classes[:, :1])
    wait_for(device)
    return f"~{(time.perf_counter() - start) * cost / METHODS[name].cost(task.split, fewer, 1):.0f}"

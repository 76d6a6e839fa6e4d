"""Seconds a picture for the maps of all classes: SCOUTER's one forward beside every attribution method."""

import argparse
import logging
import time
from functools import partial
from typing import Any

import torch

from args import method_settings, model_config
from engine.explain.attribution.registry import METHODS, MethodSettings, SplitModel, build_explainer
from engine.explain.slots import slot_explainer
from sloter.slot_model import build_model
from studies.benchmark.timing import seconds_each, wait_for
from tools import ToolError

logger = logging.getLogger(__name__)

CLASSES = (10, 100)
LONGEST = {True: 10.0, False: 60.0}  # seconds; what would take longer is worked out from its forwards, and marked
ROUNDS = {True: 1, False: 3}
QUICK = ("CAM", "GradCAM")  # methods of --quick, if none are named


class OneBatch:
    """What methods that need features of many pictures get here: noise."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """One picture of noise, weights at random, all classes at once; the model is ``--model`` at ``--img_size``."""
    image = torch.randn(1, 3, *run.img_size, device=device)
    rows: dict[str, dict[str, Any]] = {}
    for c in CLASSES:
        for name, cell in column(run, device, image, c).items():
            rows.setdefault(name, {"explain": name})[f"{c} classes, s"] = cell
    return list(rows.values())


def column(run: argparse.Namespace, device: torch.device, image: torch.Tensor, c: int) -> dict[str, str]:
    """Seconds of each method for c classes, as text; those with a tilde are worked out, not measured."""
    torch.manual_seed(run.seed)
    memory_format = torch.channels_last if run.channels_last else torch.contiguous_format
    models = {}
    for use_slot in (True, False):
        flags = argparse.Namespace(**{**vars(run), "use_slot": use_slot})
        model = build_model(**model_config(flags, num_classes=c, in_chans=3)).eval()
        models[use_slot] = model.to(device).to(memory_format=memory_format)
    split = SplitModel(models[False].backbone, image_shape=(3, *run.img_size))
    options, every = MethodSettings(**method_settings(run)), torch.arange(c, device=device)[None]  # (1, c)
    loader = [OneBatch(torch.randn(16, 3, *run.img_size, device=device))]

    @torch.no_grad()
    def forward_of(use_slot: bool) -> None:
        models[use_slot](image)

    slot = slot_explainer(models[True], "attention")
    cheap = seconds_each(
        {"plain forward, no map": partial(forward_of, False), "slot model, no map": partial(forward_of, True),
         "SCOUTER": lambda: slot(image, every)},
        rounds=20 * ROUNDS[run.quick], title=f"{c} classes", device=device,
    )  # fmt: skip
    cells = {name: f"{taken:.4f}" for name, taken in cheap.items()}
    forward = cheap["plain forward, no map"]
    for name, method in METHODS.items():
        if name not in (run.methods or (QUICK if run.quick else METHODS)):
            continue
        try:
            explainer = build_explainer(name, split, loader=loader, seed=run.seed, options=options)
        except ToolError as error:
            logger.warning("%s is left out: %s", name, error)
            cells[name] = "-"
            continue
        cost = method.cost(split, options, c)
        if forward * cost <= LONGEST[run.quick]:
            taken = seconds_each(
                {name: partial(explainer, image, every)}, rounds=ROUNDS[run.quick], title=f"{name}, {c} classes",
                device=device,
            )  # fmt: skip
            cells[name] = f"{taken[name]:.3f}"
        else:  # of one class, and as many times that as the forwards say
            start = time.perf_counter()
            quick = MethodSettings(**{**method_settings(run), **FEWER})
            build_explainer(name, split, loader=loader, seed=run.seed, options=quick)(image, every[:, :1])
            wait_for(device)
            scale = cost / method.cost(split, quick, 1)
            cells[name] = f"~{(time.perf_counter() - start) * scale:.0f}"
    return cells


# For what is only worked out: a fraction of the usual rounds.
FEWER = {"ss_samples": 1, "is_samples": 1, "ig_steps": 5, "rise_masks": 100, "extremal_steps": 10, "igos_steps": 1}

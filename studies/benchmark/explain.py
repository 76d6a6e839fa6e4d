"""Seconds for the maps of a picture: one forward pass of SCOUTER, and every attribution method beside its peers."""

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from args import method_settings, model_config
from engine.explain.attribution.cam import pooled_linear
from engine.explain.attribution.registry import METHODS, build_explainer
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.slots import slot_explainer
from sloter.backbone import FeatureModel
from sloter.slot_model import build_model
from studies.benchmark.peers import peers_of
from studies.benchmark.timing import Action, clock_of, seconds_each, wait_for
from tools import ToolError

logger = logging.getLogger(__name__)

CLASSES = (1, 10, 100)
LIBRARIES = ("torchcam", "grad-cam", "captum")  # grad-cam only where it is installed
LONGEST = {True: 1.0, False: 4.0}  # seconds; what would take longer explains fewer classes
ROUNDS = {True: 1, False: 5}
MOST_ROUNDS = 15  # of what is fast
QUICK_METHODS = ("CAM", "GradCAM")  # used by --quick without --methods
# In place of the usual numbers, the same for all libraries.
FEWER_SAMPLES = {"ss_samples": 1, "is_samples": 1, "ig_steps": 8, "rise_masks": 100, "extremal_steps": 2,
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
        classes: their number; all are explained.
    """

    run: argparse.Namespace
    split: SplitModel
    loader: list[NoiseBatch]
    image: Tensor
    classes: int


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Explain one picture of noise by models with random weights, ``--model`` at ``--img_size``; returns table rows.

    On a CPU they are the seconds of its cores, which other programs disturb less. A tilde marks those that would be too
    long and are worked out from fewer classes.
    """
    image = torch.randn(1, 3, *run.img_size, device=device)
    rows: dict[str, list[dict[str, Any]]] = {}
    for c in CLASSES:
        for row in column(run, device, image, c):
            rows.setdefault(row["explain"], []).append(row)
    return [row for method in rows.values() for row in method]


def column(run: argparse.Namespace, device: torch.device, image: Tensor, c: int) -> Iterator[dict[str, Any]]:
    """Rows of SCOUTER and of every method for c classes."""
    torch.manual_seed(run.seed)
    slot_model, plain = (random_model(run, device, c, use_slot=use_slot) for use_slot in (True, False))
    split, classes = SplitModel(plain.backbone, image_shape=(3, *run.img_size)), torch.arange(c, device=device)[None]
    explain = slot_explainer(slot_model, "attention")
    seconds = seconds_each(
        {"plain forward, no map": partial(forward, plain, image),
         "slot model, no map": partial(forward, slot_model, image), "SCOUTER": lambda: explain(image, classes)},
        rounds=10 * ROUNDS[run.quick], title=f"{c} classes", device=device, clock=clock_of(device),
    )  # fmt: skip
    for name, taken in seconds.items():
        yield table_row(name, c, {"ours": taken})
    loader = [NoiseBatch(torch.randn(16, 3, *run.img_size, device=device))]
    for name in METHODS:
        if name in (run.methods or (QUICK_METHODS if run.quick else METHODS)):
            yield from method_rows(Task(run, split, loader, image, c), name)


def table_row(name: str, c: int, seconds: dict[str, float], measured: dict[str, int] | None = None) -> dict[str, Any]:
    """Row of a method: seconds by library, and ours in units of the fastest of the others.

    Args:
        name: of the method.
        c: number of classes.
        seconds: by library, ours among them.
        measured: by library, how many of the classes were explained; all if not given.
    """
    partly = [who for who, count in (measured or {}).items() if count < c]
    cells = {f"{who}, s": f"{'~' if who in partly else ''}{seconds[who]:.4f}" if who in seconds else ""
             for who in ("ours", *LIBRARIES)}  # fmt: skip
    others = [taken for who, taken in seconds.items() if who != "ours"]
    return {"explain": name, "classes": c, **cells, "ours / best": seconds["ours"] / min(others) if others else ""}


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


def method_rows(task: Task, name: str) -> Iterator[dict[str, Any]]:
    """The row of a method; none, with a note, if it cannot explain the model."""
    run, c, device = task.run, task.classes, task.image.device
    given = {key: value for key, value in method_settings(run).items() if key in run.given}
    settings = MethodSettings(**{**method_settings(run), **FEWER_SAMPLES, **given})
    try:
        explainer = build_explainer(name, task.split, loader=task.loader, seed=run.seed, options=settings)
        classifier = pooled_linear(task.split) if name == "CAM" else None
    except ToolError as error:
        logger.warning("%s is left out: %s", name, error)
        return

    def ours(image: Tensor, classes: Sequence[int]) -> object:
        return explainer(image, torch.tensor([classes], device=device))

    actions: dict[str, Action] = {}
    measured: dict[str, int] = {}
    each_round = 0.0  # seconds
    growth = METHODS[name].cost(task.split, settings, c) / METHODS[name].cost(task.split, settings, 1)
    clock, longest = clock_of(device), LONGEST[run.quick]
    for who, explain in {"ours": ours, **peers_of(name, task.split, settings, classifier)}.items():
        expected = seconds_once(partial(explain, task.image, [0]), clock, device)
        expected *= growth if who == "ours" else c  # others explain one class after another
        measured[who] = max(1, min(c, int(c * longest / max(expected, 1e-9))))
        each_round += expected * measured[who] / c
        counts = {1, measured[who]} if measured[who] < c else {c}
        actions |= {f"{who} {t}": partial(explain, task.image, range(t)) for t in counts}
    title = f"{name}, {c} classes"
    rounds = max(ROUNDS[run.quick], min(MOST_ROUNDS, int(longest / max(each_round, 1e-9))))
    seconds = seconds_each(actions, rounds=rounds, title=title, device=device, clock=clock)
    totals = {}
    for who, t in measured.items():
        totals[who] = seconds[f"{who} {t}"]
        if t < c:  # each further class takes as long as the others
            one = seconds[f"{who} 1"]
            totals[who] = one + (c - 1) * (one if t == 1 else (totals[who] - one) / (t - 1))
    yield table_row(name, c, totals, measured)


def seconds_once(action: Action, clock: Callable[[], float], device: torch.device) -> float:
    """Seconds of an action: of a second call if the first one, which may be slower than the rest, was short."""
    for _ in range(2):
        start = clock()
        action()
        wait_for(device)
        taken = clock() - start
        if taken > 0.5:
            break
    return taken

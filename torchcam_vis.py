"""Draw and measure the maps of attribution methods for a plain classifier, next to those of SCOUTER."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("torchcam_vis.py")  # before anything else is imported

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import args as flags

if __name__ == "__main__":
    flags.parse_args(script="torchcam_vis")  # before the heavy imports: --help and flag errors are immediate

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from dataset import DataError
from dataset.pictures import PictureDataset
from dataset.registry import class_number
from dataset.sources import Source, Sources
from engine import TrainingError
from engine.explain.attribution.registry import METHODS, Attribution, build_explainer, claim_of
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.drawing import caption, draw_contrasts, output_folder
from engine.explain.interface import Explainer
from engine.explain.measure import measure, passes, seconds_of_forward
from engine.explain.settings import MetricSettings
from engine.explain.subjects import method_subject
from engine.explain.table import add_row, check_table, show_table
from engine.trained_model import TrainedModel
from sloter import ModelError
from tools import ToolError, checkpoint, distributed, flag_rules, run_folder
from tools.console import progress, run_script, say, start_script
from tools.cores import divide_cores
from tools.ending import finish
from tools.figures.explanations import NEGATIVE, POSITIVE
from tools.figures.methods import save_method_figure, save_method_files
from tools.files import check_folder, writable_folder
from tools.provenance import provenance_text

logger = logging.getLogger("torchcam_vis")

POSITIVE_MODEL = "SCOUTER positive"
ANNOUNCED_SECONDS = 5.0  # a method that is expected to take longer says so before it starts
FIGURE_CLASSES = 20  # columns of the figure of all methods; every class has files of its own
SLOW_SENSITIVITY = ("SSCAM", "ISCAM")  # their sensitivity is measured only with --sensitivity_of_all true


class Explained(NamedTuple):
    """The classifier that is explained, the methods that explain it, and the classes to explain."""

    trained: TrainedModel
    split: SplitModel
    explainers: dict[str, Attribution]
    classes: list[int]
    versus: list[int]  # classes that a slot model's prediction is contrasted with
    options: MethodSettings


def main() -> None:
    """Draw and measure the maps of a plain classifier, as the flags request."""
    args = flags.parse_args(script="torchcam_vis")
    device = start_script("torchcam_vis.py", **flags.machine_config(args))
    args.num_workers = divide_cores(args.num_workers, device).workers
    run = flags.expand_runs(args)[0]
    path = Path(run.checkpoint) if run.checkpoint else plain_checkpoint(run)
    state = run_folder.load_tested(path)
    if state["model_config"]["use_slot"]:
        raise ToolError(f"{path} is a slot model, which explains itself: python test.py --checkpoint {path} --vis true")
    run = flags.fitted(run, state, path)
    trained = TrainedModel(
        path, state, device=device, img_size=run.img_size, channels_last=run.channels_last,
        reading=flags.reading_options(run),
    )  # fmt: skip
    if run.explain_metrics and distributed.is_main():
        check_table(writable_folder(path.parent))  # before hours of work that could not be saved
    if run.vis_dir:
        check_folder(Path(run.vis_dir), "--vis_dir", inputs=[*(run.image or ()), run.dataset_dir])
    split = trained.split_model(run.cam_layer)
    data = load_data(run, trained)
    names = trained.class_names
    classes = [class_number(name, names) for name in run.classes] if run.classes else list(range(len(names)))
    versus = [class_number(name, names, flag="--versus") for name in run.versus or ()]
    options = MethodSettings(**flags.method_settings(run))
    drawn = {"data": None if run.image else data, "numbers": run.vis_id, "files": run.image}
    own = flag_rules.draws("torchcam_vis", vars(run), run.given) and distributed.is_main()
    sources = Sources(trained.in_chans, **drawn, bad_images=run.bad_images) if own else None
    explained = Explained(trained, split, build_all(run, trained, split, data, options), classes, versus, options)
    with distributed.main_first():  # drawing may take hours, for which no collective would wait
        if sources:
            draw_all(run, explained, sources)
    if run.explain_metrics:
        assert data is not None
        measure_all(run, explained, data)


def chosen_methods(run: argparse.Namespace) -> list[str]:
    """Names of the methods of ``--methods``, or of all."""
    return [name for name in METHODS if run.methods is None or name in run.methods]


def load_data(run: argparse.Namespace, trained: TrainedModel) -> PictureDataset | None:
    """The validation split; with ``--image`` None if no method needs it, or if it cannot be read."""
    if run.image and not run.explain_metrics and not any(METHODS[name].needs_loader for name in chosen_methods(run)):
        return None
    try:
        data = trained.load_split(run.dataset, split=run.split, **flags.data_config(run, first_classes=True))
    except DataError:
        if not run.image or run.explain_metrics or run.methods is not None:
            raise
        return None  # build_all leaves out the method that needs it, with a note
    if not run.image and max(run.vis_id) >= len(data):
        raise DataError(f"--vis_id {max(run.vis_id)}: the split has pictures 0 to {len(data) - 1}")
    return data


def plain_checkpoint(run: argparse.Namespace) -> Path:
    """The file that train.py writes with ``--use_slot false``; published commands of this script lack the flag."""
    name = checkpoint.run_name(**{**flags.name_config(run), "use_slot": False, "loss_status": 1})
    path = checkpoint.checkpoint_path(run.output_dir, name)
    if not path.is_file():
        raise ToolError(f"{path}: no such file; train.py --use_slot false writes it, --checkpoint names another one")
    return path


def build_all(
    run: argparse.Namespace, trained: TrainedModel, split: SplitModel, data: PictureDataset | None,
    options: MethodSettings,
) -> dict[str, Attribution]:  # fmt: skip
    """The explainers by name; a method that cannot explain this model is left out with a note.

    Raises:
        ToolError: such a method was requested with ``--methods``.
    """
    explainers = {}
    for name in chosen_methods(run):
        loader = None
        if METHODS[name].needs_loader and data is not None:
            loader = trained.loader(data, batch_size=run.batch_size, num_workers=run.num_workers, shared=False)
        try:
            explainers[name] = build_explainer(name, split, loader=loader, seed=run.seed, options=options)
        except ToolError as error:
            if run.methods is not None:
                raise
            logger.warning("%s is left out: %s", name, error)
    return explainers


def draw_all(run: argparse.Namespace, explained: Explained, sources: Sources) -> None:
    """Draw every method and class for each picture: the published files, and one figure of all methods."""
    trained, classes = explained.trained, explained.classes
    root = output_folder(trained, run.vis_dir, files=sources.data is None)
    own = slot_models(run, trained)
    parts = [provenance_text(trained.provenance(sources.data))]
    parts += [f"{name} {model.checkpoint_id}" for name, model in own.items()]
    for source in sources:
        draw_picture(run, explained, own, source, writable_folder(root / source.title), note=", ".join(parts))
    say(f"maps of {len(explained.explainers)} methods for {len(classes)} classes of {len(sources)} picture(s): "
        f"{root / sources.titles[0] / f'methods.{run.vis_format}'}")  # fmt: skip


def draw_picture(
    run: argparse.Namespace, explained: Explained, own: dict[str, TrainedModel], source: Source, folder: Path, *,
    note: str,
) -> None:  # fmt: skip
    """Draw the published files of a picture and a figure of all methods, which begins with the slot models ``own``."""
    trained, classes, names = explained.trained, explained.classes, explained.trained.class_names
    pixels = trained.pixels(source.picture)
    shown, image = to_pil_image(pixels), trained.normalised(pixels)[None]  # (1, ch, H, W)
    targets = torch.tensor([classes], device=trained.device)  # (1, t)
    rows = {name: slot_maps(model, model.explainer(run.map), source, targets) for name, model in own.items()}
    rows |= draw_methods(explained, image, targets, shown, folder, floor=run.grad_min_level, vis_format=run.vis_format)
    probabilities = explained.split(image).detach().softmax(1)[0].cpu()
    title = caption(source.title, names, probabilities, source.label)
    say(title)
    colours = {name: NEGATIVE if model.is_negative else POSITIVE for name, model in own.items()}
    columns = most_likely(classes, probabilities, FIGURE_CLASSES)
    if len(columns) < len(classes):
        title = f"{title}; the {len(columns)} most likely of {len(classes)} classes"
    save_method_figure(
        folder / f"methods.{run.vis_format}", shown, {name: maps[columns] for name, maps in rows.items()},
        [names[classes[place]] for place in columns], title=title, colours=colours, floor=run.grad_min_level, note=note,
    )  # fmt: skip
    for name, model in own.items() if explained.versus else ():
        draw_contrasts(
            model, model.explain(source.picture), source, folder, shown, versus=explained.versus, note=note,
            vis_format=run.vis_format, prefix="positive_" if name == POSITIVE_MODEL else "negative_",
        )  # fmt: skip


def draw_methods(
    explained: Explained, image: Tensor, targets: Tensor, shown: Any, folder: Path, *, floor: float,
    vis_format: str,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The maps (t, h, w) of each method for one picture, saved one by one; a slow method is announced."""
    forward, rows = seconds_of_forward(explained.split, image), {}
    for name, explainer in progress(explained.explainers.items(), "methods"):
        expected = forward * METHODS[name].cost(explained.split, explained.options, len(explained.classes))
        if expected > ANNOUNCED_SECONDS:
            say(f"{name}: about {expected:.0f} s for {len(explained.classes)} classes")
        start = time.monotonic()
        maps = explainer(image, targets)[0].cpu().numpy()  # (t, h, w)
        gap = "" if explainer.gap is None else f", completeness gap {explainer.gap:.2g}"
        say(f"{name}: {time.monotonic() - start:.1f} s{gap}")
        save_method_files(folder, shown, name, maps, explained.classes, floor=floor, vis_format=vis_format)
        rows[name] = maps
    return rows


def most_likely(classes: Sequence[int], probabilities: Tensor, count: int) -> list[int]:
    """Places in ``classes`` of those with the highest probabilities (c), in the order of ``classes``."""
    chosen = probabilities[list(classes)].topk(min(count, len(classes))).indices
    return sorted(chosen.tolist())


def slot_models(run: argparse.Namespace, trained: TrainedModel) -> dict[str, TrainedModel]:
    """Positive and negative slot model in the folder of the plain one, if they were trained for the same classes."""
    found = {}
    for name, status in ((POSITIVE_MODEL, 1), ("SCOUTER negative", -1)):
        own = checkpoint.run_name(**{**flags.name_config(run), "use_slot": True, "loss_status": status})
        if model := trained.beside(own):
            found[name] = model
    return found


def slot_maps(model: TrainedModel, explainer: Explainer, source: Source, targets: Tensor) -> np.ndarray:
    """Maps (t, h, w) of a slot model, which has its own picture size and normalisation."""
    image = model.normalised(model.pixels(source.picture))[None]  # (1, ch, H, W)
    return explainer(image, targets)[0].float().cpu().numpy()


def measure_all(run: argparse.Namespace, explained: Explained, data: PictureDataset) -> None:
    """Measure every method on the same pictures; the row of each is saved before the next begins."""
    trained, split, options = explained.trained, explained.split, explained.options
    sample = data.sample(run.metric_images or len(data), seed=run.seed).without_bad_boxes()
    settings, chosen = MetricSettings(**flags.metric_settings(run)), flags.metric_names(run)
    zeros = torch.zeros(min(run.batch_size, 16), *split.image_shape, device=trained.device)
    forward, rows = seconds_of_forward(split, zeros), []
    for name, explainer in explained.explainers.items():
        start = time.monotonic()
        left_out = () if run.sensitivity_of_all or name not in SLOW_SENSITIVITY else ("sensitivity",)
        names = [metric for metric in chosen if metric not in left_out]
        if not names:
            logger.warning("%s is left out: its sensitivity is measured with --sensitivity_of_all true", name)
            continue
        forwards, explanations = passes(names, settings)
        expected = forward * (forwards + explanations * METHODS[name].cost(split, options, 1)) * len(sample)
        if expected > ANNOUNCED_SECONDS:
            say(f"{name}: about {expected / distributed.world_size():.0f} s for {len(sample)} pictures")
        subject = method_subject(
            trained, sample, split, explainer, data=data, settings=settings, batch_size=run.batch_size,
            num_workers=run.num_workers, options=options, seed=run.seed, redraws="random_head" in names,
        )  # fmt: skip
        measured = measure(
            subject, names, boxes=sample.boxes, claim=claim_of(name, split), statistics=trained.statistics
        )
        seconds = time.monotonic() - start
        row = {"checkpoint": trained.path.name, "method": name, **trained.provenance(data), "cam_layer": run.cam_layer,
               "method_settings": options.of_maps(), "scoring_seconds": seconds, **measured}  # fmt: skip
        if distributed.is_main():
            rows = add_row(trained.path.parent, row)
            say(f"{name}: {measured['images']} pictures in {seconds:.0f} s")
    if distributed.is_main():
        show_table(trained.path.parent, rows)


if __name__ == "__main__":
    finish(run_script(main, "torchcam_vis.py", (ModelError, DataError, TrainingError)))

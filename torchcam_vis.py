"""Draw and score the maps of the usual attribution methods for a plain classifier, beside SCOUTER's own."""

import argparse
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from args import (
    METHODS,
    completed,
    contradiction,
    data_config,
    expand_runs,
    method_settings,
    name_config,
    parse_args,
    score_settings,
)

if __name__ == "__main__":
    parse_args(script="torchcam_vis")  # before the heavy imports, so that --help and a wrong flag are answered at once

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from dataset import DataError
from dataset.folder import titled_pictures
from dataset.loaders import DeviceLoader, build_loader, normalised_picture
from dataset.pictures import PictureDataset, open_picture
from dataset.registry import build_validation, class_number
from dataset.transforms import resized
from engine import TrainingError
from engine.explain import slot_explainer
from engine.score import ScoreSettings, score_maps, summary
from sloter import ModelError
from sloter.slot_model import restore_model
from tools import ToolError, checkpoint, distributed
from tools.attribution import METHODS as BUILDERS
from tools.attribution import Attribution, Settings, SplitModel, build_explainer
from tools.console import run_script
from tools.devices import pick_device
from tools.draw import NEGATIVE, POSITIVE
from tools.draw_methods import save_method_figure, save_method_files
from tools.ending import finish
from tools.logger import format_table, progress, say, set_up_console
from tools.memory import keep_freed_memory
from tools.metric_table import rows_so_far, save_metrics, score_rows
from tools.numerics import set_numerics

logger = logging.getLogger("torchcam_vis")

NOTED = 5.0  # seconds from which a method's time is told before it starts
INSENSITIVE = ("SSCAM", "ISCAM")  # whose sensitivity is left out unless asked for


def main() -> None:
    args = parse_args(script="torchcam_vis")
    set_up_console("torchcam_vis.py")
    distributed.join(dist_url=args.dist_url, world_size=args.world_size)
    device = pick_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    set_numerics(device, tf32=args.tf32, deterministic=args.deterministic)
    distributed.init(device)
    run = expand_runs(args)[0]
    methods = [name for name in METHODS if run.methods is None or name in run.methods]
    path = Path(run.checkpoint) if run.checkpoint else plain_checkpoint(run)
    state = checkpoint.load(path)
    if state["model_config"]["use_slot"]:
        raise ToolError(f"{path} is a slot model, which explains itself: python test.py --checkpoint {path} --vis true")
    if wrong := contradiction(run, state["model_config"]):
        raise ToolError(f"{wrong} ({path}): leave the flag away, or give the checkpoint that it fits")
    run = completed(run, state)
    model = split_model(run, state, path, device)
    draws = run.vis or run.image or "vis_id" in run.given or not run.explain_metrics
    if run.explain_metrics and distributed.is_main():
        rows_so_far(path.parent)  # before hours of work that could not be saved
    val_set = load_split(run, state) if not run.image or run.explain_metrics else split_for(run, state, methods)
    classes = chosen_classes(run, state, model)
    explainers = build_all(run, state, model, methods, val_set, device)
    with distributed.main_first():  # drawing may take hours, for which no collective would wait
        if draws and distributed.is_main():
            draw_all(run, state, model, explainers, None if run.image else val_set, path, device, classes=classes)
    if run.explain_metrics:
        assert val_set is not None
        score_all(run, state, model, explainers, val_set, path, device)


def needs_data(methods: list[str]) -> bool:
    return any(BUILDERS[name].needs_loader for name in methods)


def split_for(run: argparse.Namespace, state: dict[str, Any], methods: list[str]) -> PictureDataset | None:
    """Data for methods that need them though only --image is drawn; None where they are neither there nor needed."""
    if not needs_data(methods):
        return None
    try:
        return load_split(run, state)
    except DataError:
        if run.methods is not None:
            raise
        return None  # such a method is told and left out


def chosen_classes(run: argparse.Namespace, state: dict[str, Any], model: SplitModel) -> list[int]:
    names = state["data_config"].get("class_names") or [str(c) for c in range(model.num_classes)]
    return [class_number(name, names) for name in run.classes] if run.classes else list(range(len(names)))


def plain_checkpoint(run: argparse.Namespace) -> Path:
    """What train.py saves with ``--use_slot false``, whatever this script's flag says: the published lines leave it."""
    name = checkpoint.run_name(**{**name_config(run), "use_slot": False, "loss_status": 1})
    path = checkpoint.checkpoint_path(run.output_dir, name)
    if not path.is_file():
        raise ToolError(f"{path}: no such file; train.py --use_slot false makes it, --checkpoint names another")
    return path


def split_model(run: argparse.Namespace, state: dict[str, Any], path: Path, device: torch.device) -> SplitModel:
    model = restore_model(state["model_config"], state["model"], img_size=run.img_size, source=str(path))
    memory_format = torch.channels_last if run.channels_last else torch.contiguous_format
    model.to(device).to(memory_format=memory_format)
    image_shape = (state["model_config"]["in_chans"], *run.img_size)
    return SplitModel(model.backbone, image_shape=image_shape, layer=run.cam_layer).eval()


def load_split(run: argparse.Namespace, state: dict[str, Any]) -> PictureDataset:
    names = state["data_config"].get("class_names")
    with distributed.main_first():
        val_set = build_validation(
            run.dataset,
            in_chans=state["model_config"]["in_chans"],
            class_names=names,
            **data_config(run, first_classes=True),
        )
    state["data_config"].setdefault("class_names", val_set.class_names)
    if not run.image and max(run.vis_id) >= len(val_set):
        raise DataError(f"--vis_id {max(run.vis_id)}: the split has pictures 0 to {len(val_set) - 1}")
    return val_set


def loader_of(
    run: argparse.Namespace, state: dict[str, Any], data: PictureDataset, device: torch.device, *, batch_size: int,
    shared: bool = True,
) -> DeviceLoader:  # fmt: skip
    """Batches of the split, those of this process or, not shared, all of them."""
    return build_loader(
        data, batch_size=batch_size, train=False, device=device, mean=state["data_config"]["mean"],
        std=state["data_config"]["std"], num_workers=run.num_workers, rank=distributed.rank() if shared else 0,
        world_size=distributed.world_size() if shared else 1,
        memory_format=torch.channels_last if run.channels_last else torch.contiguous_format,
    )  # fmt: skip


def build_all(
    run: argparse.Namespace, state: dict[str, Any], model: SplitModel, methods: list[str],
    val_set: PictureDataset | None, device: torch.device,
) -> dict[str, Attribution]:  # fmt: skip
    """The explainers; a method that this model does not allow is told and left out, unless it was asked for."""
    explainers = {}
    for name in methods:
        loader = None
        if BUILDERS[name].needs_loader and val_set is not None:
            loader = loader_of(run, state, val_set, device, batch_size=run.batch_size, shared=False)
        try:
            explainers[name] = build_explainer(
                name, model, loader=loader, seed=run.seed, options=Settings(**method_settings(run))
            )
        except ToolError as error:
            if run.methods is not None:
                raise
            logger.warning("%s is left out: %s", name, error)
    return explainers


def draw_all(
    run: argparse.Namespace, state: dict[str, Any], model: SplitModel, explainers: dict[str, Attribution],
    val_set: PictureDataset | None, path: Path, device: torch.device, *, classes: list[int],
) -> None:  # fmt: skip
    """Every method and class of the pictures asked for: the published files, and one figure a picture."""
    config = state["data_config"]
    names = config.get("class_names") or [str(c) for c in range(model.num_classes)]
    default = path.parent / "vis" / checkpoint.run_of(path)
    if run.image:
        default /= "images"  # apart from the pictures of the split, which have numbers
    root = checkpoint.writable_folder(run.vis_dir or default)
    sources: list[tuple[str, Any, int | None]] = (
        [(title, file, None) for title, file in titled_pictures(run.image).items()]
        if val_set is None
        else [(str(i), i, val_set.listing.labels[i]) for i in run.vis_id]
    )
    own, options = slot_explainers(run, state, path, device), Settings(**method_settings(run))
    for title, source, label in sources:
        in_chans = state["model_config"]["in_chans"]
        picture = open_picture(source, in_chans) if val_set is None else val_set.picture(source)
        folder = checkpoint.writable_folder(root / title)
        pixels = resized(picture, run.img_size)
        shown = to_pil_image(pixels)
        image = normalised(pixels, state, device)
        rows = {name: own_maps(*slot, picture, classes, device) for name, slot in own.items()}
        rows |= draw_methods(
            explainers, model, image, classes, shown, folder, floor=run.grad_min_level, options=options
        )
        probabilities = model(image).detach().softmax(1)[0].cpu()
        best = int(probabilities.argmax())
        known = f"label {names[label]}, " if label is not None else ""
        caption = f"picture {title}: {known}taken for {names[best]} (p = {probabilities[best]:.3f})"
        colours = {name: NEGATIVE if "negative" in name else POSITIVE for name in own}
        save_method_figure(
            folder / "methods.png", shown, rows, [names[c] for c in classes], title=caption, colours=colours,
            floor=run.grad_min_level,
        )  # fmt: skip
        say(caption)
    say(f"maps of {len(explainers)} methods for {len(classes)} classes of {len(sources)} picture(s): "
        f"{root / sources[0][0] / 'methods.png'}")  # fmt: skip


def draw_methods(
    explainers: dict[str, Attribution], model: SplitModel, image: Tensor, classes: list[int], shown: Any, folder: Path,
    *, floor: float, options: Settings,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The maps (t, h, w) of each method of one picture, saved one by one, with the time to expect told before."""
    forward = seconds_of_forward(model, image)
    targets = torch.tensor([classes], device=image.device)  # (1, t)
    rows = {}
    for name, explainer in progress(explainers.items(), "methods"):
        expected = forward * BUILDERS[name].cost(model, options, len(classes))
        if expected > NOTED:
            say(f"{name}: about {expected:.0f} s for {len(classes)} classes")
        start = time.monotonic()
        maps = explainer(image, targets)[0].cpu().numpy()  # (t, h, w)
        gap = "" if explainer.gap is None else f", completeness gap {explainer.gap:.2g}"
        say(f"{name}: {time.monotonic() - start:.1f} s{gap}")
        save_method_files(folder, shown, name, maps, classes, floor=floor)
        rows[name] = maps
    return rows


@torch.no_grad()
def seconds_of_forward(model: SplitModel, images: Tensor) -> float:
    """Of one picture in such a batch."""
    model(images)  # the first forward is slower than the rest
    start = time.monotonic()
    model(images)
    return (time.monotonic() - start) / len(images)


def normalised(pixels: Tensor, state: dict[str, Any], device: torch.device) -> Tensor:
    """(1, ch, H, W) of a uint8 picture (ch, H, W)."""
    statistics = {key: state["data_config"][key] for key in ("mean", "std")}
    return normalised_picture(pixels.to(device), **statistics)[None]


def slot_explainers(
    run: argparse.Namespace, state: dict[str, Any], path: Path, device: torch.device
) -> dict[str, tuple[Any, dict[str, Any], tuple[int, int]]]:
    """SCOUTER's own maps where its checkpoints lie beside the plain one and are of the same classes."""
    found = {}
    for name, status in (("SCOUTER positive", 1), ("SCOUTER negative", -1)):
        run_name = checkpoint.run_name(**{**name_config(run), "use_slot": True, "loss_status": status})
        own = checkpoint.checkpoint_path(str(path.parent), run_name)
        if not own.is_file():
            continue
        slot = checkpoint.load(own)
        config = slot["model_config"]
        same = ("num_classes", "in_chans")
        if any(config[key] != state["model_config"][key] for key in same):
            logger.warning("%s is left out: its classes or channels are others", own)
            continue
        size = tuple(config["img_size"])
        model = restore_model(config, slot["model"], img_size=size, source=str(own)).to(device)
        found[name] = (slot_explainer(model, run.map), slot, size)
    return found


def own_maps(
    explainer: Any, slot: dict[str, Any], size: tuple[int, int], picture: Any, classes: list[int], device: torch.device
) -> np.ndarray:
    """(t, h, w) of a slot model, which sees the picture in its own size and normalisation."""
    targets = torch.tensor([classes], device=device)
    return explainer(normalised(resized(picture, size), slot, device), targets)[0].float().cpu().numpy()


def score_all(
    run: argparse.Namespace, state: dict[str, Any], model: SplitModel, explainers: dict[str, Attribution],
    val_set: PictureDataset, path: Path, device: torch.device,
) -> None:  # fmt: skip
    """Score every method on the same pictures; each finished one is saved before the next begins."""
    data = val_set.sample(run.metric_images or len(val_set), seed=run.seed)
    settings, options = ScoreSettings(**score_settings(run)), Settings(**method_settings(run))
    forward = seconds_of_forward(model, torch.zeros(min(run.batch_size, 16), *model.image_shape, device=device))
    rows: list[dict[str, Any]] = []
    for name, explainer in explainers.items():
        start = time.monotonic()
        measured = run.sensitivity_samples > 0 and (name not in INSENSITIVE or run.sensitivity_of_all)
        changes = run.sensitivity_samples if measured else 0
        own = 2 * settings.steps + settings.infidelity_samples + (1 + changes) * BUILDERS[name].cost(model, options, 1)
        if forward * own * len(data) > NOTED:
            say(f"{name}: about {forward * own * len(data) / distributed.world_size():.0f} s for {len(data)} pictures")
        records = score_maps(
            explainer, model, loader_of(run, state, data, device, batch_size=min(run.batch_size, 8)), boxes=data.boxes,
            settings=settings, batch_size=run.batch_size, sensitivity=measured, title=name,
        )  # fmt: skip
        seconds = time.monotonic() - start
        row = {"checkpoint": path.name, "method": name, "dataset": run.dataset, "cam_layer": run.cam_layer,
               "img_size": list(run.img_size), "method_settings": asdict(options), "scoring_seconds": seconds,
               **summary(records, settings)}  # fmt: skip
        if distributed.is_main():
            rows = save_metrics(path.parent, row)
            say(f"{name}: {len(records)} pictures in {seconds:.0f} s")
    if distributed.is_main():
        say(format_table(score_rows(rows)))
        say(f"saved: {path.parent / 'metrics.json'}, metrics.csv and metrics.png beside it")


if __name__ == "__main__":
    finish(run_script(main, "torchcam_vis.py", (ModelError, DataError, TrainingError)))

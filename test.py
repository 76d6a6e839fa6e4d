"""Evaluate a trained model, and with --vis true draw why it decided as it did."""

import argparse
import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from args import completed, contradiction, data_config, expand_runs, name_config, parse_args, score_settings

if __name__ == "__main__":
    parse_args(script="test")  # before the heavy imports, so that --help and a wrong flag are answered at once

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from dataset import DataError
from dataset.folder import titled_pictures
from dataset.loaders import DeviceLoader, build_loader, normalised_picture
from dataset.pictures import PictureDataset, open_picture
from dataset.registry import build_validation, class_number, least_similar_classes
from dataset.transforms import resized
from engine import TrainingError
from engine.evaluate import evaluate
from engine.explain import explain_picture, interesting_classes, slot_explainer
from engine.score import ScoreSettings, least_similar_by_features, score_maps, summary
from sloter import ModelError
from sloter.backbone import FeatureModel, body_parameters, grid_features
from sloter.loss import ScouterLoss
from sloter.slot_model import restore_model
from tools import ToolError, checkpoint, distributed
from tools.console import run_script
from tools.cost import cost_table
from tools.devices import pick_device
from tools.draw import (
    OverviewRow,
    class_maps,
    save_confusion,
    save_explanation_figure,
    save_map_files,
    save_overview,
)
from tools.ending import finish
from tools.logger import format_table, progress, read_records, save_results, say, set_up_console
from tools.memory import keep_freed_memory
from tools.metric_table import read_metrics, rows_so_far, save_metrics, score_rows
from tools.numerics import amp_dtype, autocast, set_numerics
from tools.report import Report, ReportCard, ReportMap, save_report

logger = logging.getLogger("test")

SHOWN = 4  # likely classes in a figure, if --classes does not say which
MOST_ROWS = 20  # pictures in an overview
REPORTED = 60  # pictures of a report, if --vis_id does not say which
FEW = 10  # so many classes are all shown in an overview


def main() -> None:
    args = parse_args(script="test")
    set_up_console("test.py")
    distributed.join(dist_url=args.dist_url, world_size=args.world_size)
    device = pick_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    set_numerics(device, tf32=args.tf32, deterministic=args.deterministic)
    distributed.init(device)
    run = expand_runs(args)[0]
    path = Path(run.checkpoint) if run.checkpoint else named_checkpoint(run)
    state = checkpoint.load(path)
    if wrong := contradiction(run, state["model_config"]):
        raise ToolError(f"{wrong} ({path}): leave the flag away, or give the checkpoint that it fits")
    run = completed(run, state)
    model = restore_model(state["model_config"], state["model"], img_size=run.img_size, source=str(path))
    model.to(device).to(memory_format=memory_format(run))
    if run.thop:
        body = {f"backbone.{name}" for name in body_parameters(model.backbone)}
        image = torch.zeros(1, state["model_config"]["in_chans"], *run.img_size, device=device)
        say(cost_table(model, body, partial(grid_features, model.backbone), image))
        return
    draws = run.vis or run.image or ("vis_id" in run.given and "vis" not in run.given)
    if (draws or run.explain_metrics or run.report) and not state["model_config"]["use_slot"]:
        raise ToolError(f"{path} is a plain classifier, which has no maps of its own: train one with --use_slot true, "
                        "or use torchcam_vis.py")  # fmt: skip
    if run.compile:
        model.compile()
    val_set = None if run.image else load_split(run, state)
    figures: dict[str, float] = {}
    if val_set is not None:
        if draws and max(run.vis_id) >= len(val_set):
            raise DataError(f"--vis_id {max(run.vis_id)}: the split has pictures 0 to {len(val_set) - 1}")
        check_wishes(run, state, path)
        negative = state["model_config"].get("loss_status", 1) < 0
        lsc = least_similar_classes(val_set, run.lsc) if negative else None
        figures = score(run, state, model, val_set, path, device, lsc=lsc)
        if run.explain_metrics:
            score_explanations(run, state, model, val_set, path, device, top1=figures["top1"], lsc=lsc)
    if draws and distributed.is_main():
        explain(run, state, model, val_set, path, device)
    if run.report and distributed.is_main():
        write_report(run, state, model, val_set, path, device, accuracy=figures)


def check_wishes(run: argparse.Namespace, state: dict[str, Any], path: Path) -> None:
    """What would fail after the evaluation fails before it."""
    for name in run.classes or ():
        class_number(name, class_names(state))
    if run.explain_metrics and distributed.is_main():
        rows_so_far(path.parent)
    if run.report and Path(run.report).is_dir():
        raise ToolError(f"--report {run.report} is a folder: give the name of a file, such as {run.report}/report.html")


def named_checkpoint(run: argparse.Namespace) -> Path:
    """The checkpoint that train.py saves with the same flags."""
    path = checkpoint.checkpoint_path(run.output_dir, checkpoint.run_name(**name_config(run)))
    if not path.is_file():
        raise ToolError(f"{path}: no such file; train.py with the same flags makes it, --checkpoint names another")
    return path


def memory_format(run: argparse.Namespace) -> torch.memory_format:
    return torch.channels_last if run.channels_last else torch.contiguous_format


def load_split(run: argparse.Namespace, state: dict[str, Any]) -> PictureDataset:
    config = data_config(run, first_classes=True)  # the model has so many outputs, whatever the dataset finds
    names = state["data_config"].get("class_names")
    with distributed.main_first():
        val_set = build_validation(run.dataset, in_chans=state["model_config"]["in_chans"], class_names=names, **config)
    state["data_config"].setdefault("class_names", val_set.class_names)  # published files bring none
    return val_set


def loader_of(
    run: argparse.Namespace, state: dict[str, Any], data: PictureDataset, device: torch.device, *, batch_size: int
) -> DeviceLoader:
    return build_loader(
        data, batch_size=batch_size, train=False, device=device, mean=state["data_config"]["mean"],
        std=state["data_config"]["std"], num_workers=run.num_workers, rank=distributed.rank(),
        world_size=distributed.world_size(), memory_format=memory_format(run),
    )  # fmt: skip


def score(
    run: argparse.Namespace, state: dict[str, Any], model: FeatureModel, val_set: PictureDataset, path: Path,
    device: torch.device, *, lsc: list[int] | None,
) -> dict[str, float]:  # fmt: skip
    """Evaluate on the whole split; print the figures and save them beside the checkpoint."""
    loader = loader_of(run, state, val_set, device, batch_size=run.batch_size)
    criterion = ScouterLoss(lambda_value=run.lambda_value, power=run.power)
    negative = state["model_config"].get("loss_status", 1) < 0
    explained = None if lsc is None else torch.tensor(lsc, device=device)
    confusion = torch.zeros(2 * [val_set.num_classes], dtype=torch.long, device=device)
    figures = evaluate(model, loader, criterion, device=device, negative=negative, explained=explained,
                       confusion=confusion, amp=amp_dtype(run.amp, device))  # fmt: skip
    say(f"{path.name} on {figures['images']} pictures of {run.dataset}: "
        f"top-1 {figures['top1']:.2%}, top-5 {figures['top5']:.2%}, loss {figures['loss']:.4f}, "
        f"attention {figures['attn_mean']:.4f}"
        + (f", area {figures['area']:.4f}" if "area" in figures else ""))  # fmt: skip
    counts = confusion.cpu()
    per_class = {
        name: float(row[label]) / int(row.sum())
        for label, (name, row) in enumerate(zip(val_set.class_names, counts, strict=True))
        if row.sum()
    }
    worst, best = min(per_class, key=per_class.__getitem__), max(per_class, key=per_class.__getitem__)
    say(f"by class: {per_class[worst]:.2%} ({worst}) to {per_class[best]:.2%} ({best})")
    if distributed.is_main():
        record = {"checkpoint": path.name, "dataset": run.dataset, "epoch": state["epoch"], **figures,
                  "lambda_value": run.lambda_value, "power": run.power, "per_class": per_class}  # fmt: skip
        save_results(path.with_name("results.json"), record)
        picture = path.with_name(f"{checkpoint.run_of(path)}_confusion.png")
        save_confusion(picture, counts.numpy(), val_set.class_names)
        say(f"saved: {path.with_name('results.json')}, {picture}")
    return {"top1": figures["top1"], "top5": figures["top5"]}


def score_explanations(
    run: argparse.Namespace, state: dict[str, Any], model: FeatureModel, val_set: PictureDataset, path: Path,
    device: torch.device, *, top1: float, lsc: list[int] | None,
) -> None:  # fmt: skip
    """Score the maps of a slot model; a row of ``metrics.json`` beside the checkpoint."""
    data = val_set.sample(run.metric_images or len(val_set), seed=run.seed)
    settings = ScoreSettings(**score_settings(run))
    explained = explained_classes(run, state, model, val_set, device, lsc=lsc)
    start = time.monotonic()
    with autocast(device, amp_dtype(run.amp, device)):
        records = score_maps(
            slot_explainer(model, run.map), lambda images: model(images).logits,
            loader_of(run, state, data, device, batch_size=min(run.batch_size, 8)), explained=explained,
            num_classes=val_set.num_classes, boxes=data.boxes, settings=settings, batch_size=run.batch_size,
            sensitivity=run.sensitivity_samples > 0, title="score maps",
        )  # fmt: skip
    row = {"checkpoint": path.name, "method": method_name(run, state), "dataset": run.dataset, "map": run.map,
           "img_size": list(run.img_size), "top1": top1, "explained": None if explained is None else explained.tolist(),
           "scoring_seconds": time.monotonic() - start, **summary(records, settings)}  # fmt: skip
    if distributed.is_main():
        rows = save_metrics(path.parent, row)
        say(format_table(score_rows(rows)))
        say(f"saved: {path.parent / 'metrics.json'}, metrics.csv and metrics.png beside it")


def method_name(run: argparse.Namespace, state: dict[str, Any]) -> str:
    """The row's name in the paper's way: sign and price of attention."""
    config = state["model_config"]
    sign, kind = "-" if config["loss_status"] < 0 else "+", "" if run.map == "attention" else f" {run.map}"
    return f"SCOUTER{sign} lambda {run.lambda_value:g} ({config['attention']}{kind})"


def explained_classes(
    run: argparse.Namespace, state: dict[str, Any], model: FeatureModel, val_set: PictureDataset, device: torch.device,
    *, lsc: list[int] | None,
) -> torch.Tensor | None:  # fmt: skip
    """(c) the class that a negative model explains for each true one; None for a positive model."""
    if state["model_config"]["loss_status"] > 0:
        return None
    if val_set.num_classes < 2:
        raise ToolError("a negative model of one class denies no other: there is nothing to explain")
    if lsc is None:
        loader = loader_of(run, state, val_set, device, batch_size=run.batch_size)
        lsc = least_similar_by_features(partial(grid_features, model.backbone), loader, val_set.num_classes)
        names = class_names(state)
        say(f"explained is the class least similar by the backbone's features: {names[0]} -> {names[lsc[0]]}, "
            f"{names[1]} -> {names[lsc[1]]} and so on; --lsc FILE chooses otherwise")  # fmt: skip
    return torch.tensor(lsc, device=device)


def explain(
    run: argparse.Namespace, state: dict[str, Any], model: FeatureModel, val_set: PictureDataset | None, path: Path,
    device: torch.device,
) -> None:  # fmt: skip
    """Draw the maps of pictures of the split, or of the files given, each in a folder of its own."""
    names = class_names(state)
    chosen = [class_number(name, names) for name in run.classes] if run.classes else None
    in_chans = state["model_config"]["in_chans"]
    default = path.parent / "vis" / checkpoint.run_of(path)
    if run.image:
        default /= "images"  # apart from the pictures of the split, which have numbers
    root = checkpoint.writable_folder(run.vis_dir or default)
    sources = sources_of(run, val_set, run.vis_id)
    rows = []
    for title, source, label in progress(sources, "explain"):
        picture = open_picture(source, in_chans) if val_set is None else val_set.picture(source)
        folder = checkpoint.writable_folder(root / title)
        pixels = resized(picture, run.img_size).to(device)
        rows.append(draw(model, pixels, folder, state=state, title=title, label=label, classes=chosen))
    if len(rows) > 1:
        negative = state["model_config"]["loss_status"] < 0
        save_overview(root / "overview.png", rows[:MOST_ROWS], negative=negative)
    say(f"explanations of {len(rows)} picture(s): {root / sources[0][0] / 'explanation.png'}"
        + (f" and so on, {min(len(rows), MOST_ROWS)} in {root / 'overview.png'}" if len(rows) > 1 else ""))  # fmt: skip


def draw(
    model: FeatureModel, pixels: Tensor, folder: Path, *, state: dict[str, Any], title: str, label: int | None,
    classes: list[int] | None,
) -> OverviewRow:  # fmt: skip
    """Explain one picture (ch, H, W) uint8: the published files, a figure made for looking, a row of the overview."""
    statistics = {key: state["data_config"][key] for key in ("mean", "std")}
    explanation = explain_picture(model, normalised_picture(pixels, **statistics))
    negative, names = state["model_config"]["loss_status"] < 0, class_names(state)
    picture = to_pil_image(pixels.cpu())
    save_map_files(folder, picture, explanation.attention.numpy(), classes or range(len(names)))

    columns = partial(class_maps, explanation, names, label=label)
    shown = classes or interesting_classes(explanation, count=SHOWN, negative=negative, label=label)
    best = int(explanation.probabilities.argmax())
    known = f"label {names[label]}, " if label is not None else ""
    caption = f"picture {title}: {known}taken for {names[best]} (p = {explanation.probabilities[best]:.3f})"
    save_explanation_figure(folder / "explanation.png", picture, columns(shown), title=caption, negative=negative)
    say(caption)
    few = list(range(len(names))) if len(names) <= FEW else shown
    return OverviewRow(picture, (title, f"taken for {names[best]}"), columns(classes or few))


def sources_of(
    run: argparse.Namespace, val_set: PictureDataset | None, numbers: Sequence[int]
) -> list[tuple[str, Any, int | None]]:
    """Title, file or number, and class of the pictures to explain: those of --image, or some of the split."""
    if val_set is None:
        return [(title, file, None) for title, file in titled_pictures(run.image).items()]
    return [(str(i), i, val_set.listing.labels[i]) for i in numbers]


def write_report(
    run: argparse.Namespace, state: dict[str, Any], model: FeatureModel, val_set: PictureDataset | None, path: Path,
    device: torch.device, *, accuracy: dict[str, float],
) -> None:  # fmt: skip
    """One HTML file: the run, its figures and curves, and a gallery with the maps of all signs that are there."""
    numbers = run.vis_id
    if val_set is not None and "vis_id" not in run.given:
        chosen = torch.randperm(len(val_set), generator=torch.Generator().manual_seed(run.seed))[:REPORTED]
        numbers = chosen.sort().values.tolist()
    models = [(state, model, run.img_size), *other_sign(run, state, path, device)]
    cards = []
    for title, source, label in progress(sources_of(run, val_set, numbers), "report"):
        in_chans = state["model_config"]["in_chans"]
        picture = open_picture(source, in_chans) if val_set is None else val_set.picture(source)
        cards.append(report_card(models, picture, title=title, label=label, device=device))
    try:
        rows = score_rows(read_metrics(path.parent))
    except ToolError:
        rows = []  # not scored yet
    records = read_records(path.parent / "log.jsonl")
    title = f"{checkpoint.run_of(path)}: {state['model_config']['backbone']} on {run.dataset}"
    file = Path(run.report)
    checkpoint.writable_folder(file.parent)
    save_report(file, Report(title, state["train_config"], accuracy, rows, records, cards))
    say(f"report of {len(cards)} picture(s): {file}")


def other_sign(
    run: argparse.Namespace, state: dict[str, Any], path: Path, device: torch.device
) -> list[tuple[dict[str, Any], FeatureModel, tuple[int, int]]]:
    """The model of the other sign beside this one, where it is there and knows the same classes."""
    names = {**name_config(run), "use_slot": True, "loss_status": -state["model_config"]["loss_status"]}
    other = checkpoint.checkpoint_path(str(path.parent), checkpoint.run_name(**names))
    if not other.is_file():
        return []
    found = checkpoint.load(other)
    same = ("num_classes", "in_chans")
    if any(found["model_config"][key] != state["model_config"][key] for key in same):
        return []
    size = tuple(found["model_config"]["img_size"])
    model = restore_model(found["model_config"], found["model"], img_size=size, source=str(other))
    return [(found, model.to(device), size)]


def report_card(
    models: Sequence[tuple[dict[str, Any], FeatureModel, tuple[int, int]]], picture: Image.Image, *, title: str,
    label: int | None, device: torch.device,
) -> ReportCard:  # fmt: skip
    """A picture with the evidence of every model for the classes that the first one finds likely."""
    names, maps, shown, first = class_names(models[0][0]), [], [], None
    for state, model, size in models:
        statistics = {key: state["data_config"][key] for key in ("mean", "std")}
        explanation = explain_picture(model, normalised_picture(resized(picture, size).to(device), **statistics))
        negative = state["model_config"]["loss_status"] < 0
        if first is None:
            first = explanation
            shown = interesting_classes(explanation, count=SHOWN, negative=negative, label=label)
        maps += [
            ReportMap(
                name=names[c], probability=float(explanation.probabilities[c]), logit=float(explanation.logits[c]),
                values=explanation.evidence[c].numpy(), kind="negative" if negative else "positive",
            )
            for c in shown
        ]  # fmt: skip
    assert first is not None
    best = int(first.probabilities.argmax())
    known = names[label] if label is not None else None
    return ReportCard(title, picture, known, names[best], float(first.probabilities[best]), maps)


def class_names(state: dict[str, Any]) -> list[str]:
    """Names of the model's outputs; numbers where the checkpoint has none."""
    return state["data_config"].get("class_names") or [str(c) for c in range(state["model_config"]["num_classes"])]


if __name__ == "__main__":
    finish(run_script(main, "test.py", (ModelError, DataError, TrainingError)))

"""Evaluate a trained model, and with --vis true draw why it decided as it did."""

import argparse
import itertools
import logging
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from args import contradiction, data_config, expand_runs, name_config, parse_args

if __name__ == "__main__":
    parse_args(script="test")  # before the heavy imports, so that --help and a wrong flag are answered at once

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from dataset import DataError
from dataset.folder import picture_files
from dataset.loaders import build_loader, normalise
from dataset.pictures import PictureDataset, open_picture
from dataset.registry import build_dataset, dataset_spec
from dataset.transforms import resized
from engine import TrainingError
from engine.evaluate import evaluate
from engine.explain import explain_picture, interesting_classes
from sloter import ModelError
from sloter.backbone import FeatureModel, body_parameters, grid_features
from sloter.loss import ScouterLoss
from sloter.slot_model import build_model
from tools import ToolError, checkpoint, distributed
from tools.console import run_script
from tools.cost import cost_table
from tools.draw import ClassMap, OverviewRow, save_confusion, save_explanation_figure, save_map_files, save_overview
from tools.logger import progress, save_results, say, set_up_console
from tools.memory import keep_freed_memory

logger = logging.getLogger("test")

SHOWN = 4  # likely classes in a figure, if --classes does not say which
MOST_ROWS = 20  # pictures in an overview
FEW = 10  # so many classes are all shown in an overview


def main() -> None:
    args = parse_args(script="test")
    set_up_console("test.py")
    device = distributed.pick_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    distributed.init(device, dist_url=args.dist_url, world_size=args.world_size)
    run = expand_runs(args)[0]
    path = Path(run.checkpoint) if run.checkpoint else named_checkpoint(run)
    state = checkpoint.load(path)
    if wrong := contradiction(run, state["model_config"]):
        raise ToolError(f"{wrong} ({path}): leave the flag away, or give the checkpoint that it fits")
    run = completed(run, state)
    model = load_model(run, state, path).to(device).to(memory_format=memory_format(run))
    if run.thop:
        body = {f"backbone.{name}" for name in body_parameters(model.backbone)}
        image = torch.zeros(1, state["model_config"]["in_chans"], *run.img_size, device=device)
        say(cost_table(model, body, partial(grid_features, model.backbone), image))
        return
    draws = run.vis or run.image or ("vis_id" in run.given and "vis" not in run.given)
    if draws and not state["model_config"]["use_slot"]:
        raise ToolError(f"{path} is a plain classifier, which has no maps of its own: train one with --use_slot true")
    val_set = None if run.image else load_split(run, state)
    if val_set is not None:
        if draws and max(run.vis_id) >= len(val_set):
            raise DataError(f"--vis_id {max(run.vis_id)}: the split has pictures 0 to {len(val_set) - 1}")
        score(run, state, model, val_set, path, device)
    if draws and distributed.is_main():
        explain(run, state, model, val_set, path, device)


def named_checkpoint(run: argparse.Namespace) -> Path:
    """The checkpoint that train.py saves with the same flags."""
    path = checkpoint.checkpoint_path(run.output_dir, checkpoint.run_name(**name_config(run)))
    if not path.is_file():
        raise ToolError(f"{path}: no such file; train.py with the same flags makes it, --checkpoint names another")
    return path


def completed(run: argparse.Namespace, state: dict[str, Any]) -> argparse.Namespace:
    """The flags, those that were not given as the checkpoint has them."""
    trained, config = state["train_config"], state["model_config"]
    known = {
        "dataset": state["data_config"]["dataset"],
        "img_size": tuple(config["img_size"]),
        "num_classes": config["num_classes"],
        "val_ratio": state["data_config"].get("val_ratio", run.val_ratio),
    }
    flags = {**vars(run), **{name: value for name, value in known.items() if name not in run.given}}
    # The loss shown is the one that was trained; the published test lines name other values.
    flags |= {name: trained[name] for name in ("lambda_value", "power")}
    if flags["dataset"] == known["dataset"]:
        flags["dataset_dir"] = run.dataset_dir or trained.get("dataset_dir")
    return argparse.Namespace(**flags)


def load_model(run: argparse.Namespace, state: dict[str, Any], path: Path) -> FeatureModel:
    """The model of a checkpoint, for pictures of the size asked for."""
    config = {**state["model_config"], "img_size": run.img_size}
    model = build_model(**config)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()[:160]
        raise ToolError(f"{path}: its weights do not fit its model ({reason})") from error
    return model.eval()


def memory_format(run: argparse.Namespace) -> torch.memory_format:
    return torch.channels_last if run.channels_last else torch.contiguous_format


def load_split(run: argparse.Namespace, state: dict[str, Any]) -> PictureDataset:
    spec = dataset_spec(run.dataset)
    if spec.in_chans != state["model_config"]["in_chans"]:
        raise ToolError(f"--dataset {run.dataset} has {spec.in_chans} channels, the model takes "
                        f"{state['model_config']['in_chans']}: give data such as it was trained on")  # fmt: skip
    config = data_config(run, first_classes=True)  # the model has so many outputs, whatever the dataset finds
    with distributed.main_first():
        val_set = build_dataset(run.dataset, "val", **config)
    trained = state["data_config"].setdefault("class_names", val_set.class_names)  # published files bring none
    if trained != val_set.class_names:
        first = next(i for i, pair in enumerate(zip(trained, val_set.class_names, strict=True)) if pair[0] != pair[1])
        logger.warning("the classes are not those of the training: class %d is %s here, was %s",
                       first, val_set.class_names[first], trained[first])  # fmt: skip
    return val_set


def score(
    run: argparse.Namespace, state: dict[str, Any], model: FeatureModel, val_set: PictureDataset, path: Path,
    device: torch.device,
) -> None:  # fmt: skip
    """Evaluate on the whole split; print the figures and save them beside the checkpoint."""
    loader = build_loader(
        val_set, batch_size=run.batch_size, train=False, device=device, mean=state["data_config"]["mean"],
        std=state["data_config"]["std"], num_workers=run.num_workers, rank=distributed.rank(),
        world_size=distributed.world_size(), memory_format=memory_format(run),
    )  # fmt: skip
    criterion = ScouterLoss(lambda_value=run.lambda_value, power=run.power)
    negative = state["model_config"].get("loss_status", 1) < 0
    confusion = torch.zeros(2 * [val_set.num_classes], dtype=torch.long, device=device)
    figures = evaluate(model, loader, criterion, device=device, negative=negative, confusion=confusion)
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
    sources: list[tuple[str, Any, int | None]] = (
        [(title, file, None) for title, file in titled(run.image).items()]
        if val_set is None
        else [(str(i), i, val_set.listing.labels[i]) for i in run.vis_id]
    )
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


def titled(files: list[str]) -> dict[str, Path]:
    """Picture files, those of folders among them, by a name that each has for itself."""
    paths = [found for file in files for found in (picture_files(Path(file)) if Path(file).is_dir() else [Path(file)])]
    if not paths:
        raise DataError(f"--image {files[0]}: there are no pictures in this folder")
    titles: dict[str, Path] = {}
    for path in paths:
        numbered = (f"{path.stem}_{number}" for number in itertools.count(2))
        titles[next(title for title in itertools.chain([path.stem], numbered) if title not in titles)] = path
    return titles


def draw(
    model: FeatureModel, pixels: Tensor, folder: Path, *, state: dict[str, Any], title: str, label: int | None,
    classes: list[int] | None,
) -> OverviewRow:  # fmt: skip
    """Explain one picture (ch, H, W) uint8: the published files, a figure made for looking, a row of the overview."""
    statistics = [torch.tensor(state["data_config"][k], device=pixels.device).view(-1, 1, 1) for k in ("mean", "std")]
    explanation = explain_picture(model, normalise(pixels, *statistics))
    negative, names = state["model_config"]["loss_status"] < 0, class_names(state)
    picture = to_pil_image(pixels.cpu())
    save_map_files(folder, picture, explanation.attention.numpy(), classes or range(len(names)))

    def columns(chosen: list[int]) -> list[ClassMap]:
        return [
            ClassMap(
                name=names[c],
                logit=float(explanation.logits[c]),
                probability=float(explanation.probabilities[c]),
                attention=explanation.attention[c].numpy(),
                evidence=explanation.evidence[c].numpy(),
                is_true=c == label,
            )
            for c in chosen
        ]

    shown = classes or interesting_classes(explanation, count=SHOWN, negative=negative, label=label)
    best = int(explanation.probabilities.argmax())
    known = f"label {names[label]}, " if label is not None else ""
    caption = f"picture {title}: {known}taken for {names[best]} (p = {explanation.probabilities[best]:.3f})"
    save_explanation_figure(folder / "explanation.png", picture, columns(shown), title=caption, negative=negative)
    say(caption)
    few = list(range(len(names))) if len(names) <= FEW else shown
    return OverviewRow(picture, (title, f"taken for {names[best]}"), columns(classes or few))


def class_names(state: dict[str, Any]) -> list[str]:
    """Names of the model's outputs; numbers where the checkpoint has none."""
    return state["data_config"].get("class_names") or [str(c) for c in range(state["model_config"]["num_classes"])]


def class_number(name: str, names: list[str]) -> int:
    """The class of a name or a number."""
    if name in names:
        return names.index(name)
    if re.fullmatch("[0-9]+", name) and int(name) < len(names):
        return int(name)
    raise ToolError(f"--classes {name}: the model has no such class; it has {', '.join(names[:10])}"
                    + (f", ... ({len(names)} in all)" if len(names) > 10 else ""))  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_script(main, "test.py", (ModelError, DataError, TrainingError)))

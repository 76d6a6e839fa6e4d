"""Evaluate a trained model and, with --vis true, draw the evidence behind its decisions."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("test.py")  # before anything else is imported

import argparse
import logging
import time
from pathlib import Path
from typing import Any

from args import (
    data_config,
    expand_runs,
    fitted,
    machine_config,
    metric_names,
    metric_settings,
    name_config,
    parse_args,
    reading_options,
)

if __name__ == "__main__":
    parse_args(script="test")  # before the heavy imports: --help and flag errors are immediate

import torch

from dataset import DataError
from dataset.pictures import PictureDataset
from dataset.registry import class_number, least_similar_classes
from dataset.sources import Sources
from engine import TrainingError
from engine.compiled import CompiledModel
from engine.evaluate import evaluate
from engine.explain.drawing import draw_slot_maps, output_folder
from engine.explain.measure import measure
from engine.explain.settings import MetricSettings
from engine.explain.slots import slot_claim
from engine.explain.subjects import slot_subject
from engine.explain.table import add_row, check_table
from engine.least_similar import check_several_classes, least_similar_by_features
from engine.predictions import Predictions
from engine.report import check_report, write_report
from engine.results import predict_files, predictions_file, save_split_results
from engine.trained_model import TrainedModel
from sloter import ModelError
from sloter.loss import ScouterLoss
from tools import ToolError, checkpoint, distributed, flag_rules, run_folder
from tools.console import run_script, say, start_script
from tools.cores import divide_cores
from tools.ending import finish
from tools.files import check_folder, check_outputs, writable_folder
from tools.machine import amp_dtype, autocast, compiles
from tools.provenance import provenance_text

logger = logging.getLogger("test")

REPORTED_PICTURES = 60  # drawn at random for a report without --vis_id


def main() -> None:
    """Evaluate, measure, draw and report, as the flags request."""
    args = parse_args(script="test")
    device = start_script("test.py", **machine_config(args))
    if not args.thop:
        args.num_workers = divide_cores(args.num_workers, device).workers
    run = expand_runs(args)[0]
    path = Path(run.checkpoint) if run.checkpoint else named_checkpoint(run)
    state = run_folder.load_tested(path)
    run = fitted(run, state, path)
    trained = TrainedModel(
        path, state, device=device, img_size=run.img_size, channels_last=run.channels_last, reading=reading_options(run)
    )
    if run.thop:
        say(trained.cost(), several=True)
        return
    table = predictions_file(run.predictions, path, needed=bool(run.predict))
    if run.predict and table:
        predict_files(trained, run.predict, table, batch_size=run.batch_size, num_workers=run.num_workers,
                      bad_images=run.bad_images, amp=amp_dtype(run.amp, device))  # fmt: skip
        return
    draws = flag_rules.draws("test", vars(run), run.given)
    if draws or run.explain_metrics or run.report:
        trained.check_explains_itself()
    data = (
        None if run.image else trained.load_split(run.dataset, split=run.split, **data_config(run, first_classes=True))
    )
    lsc = least_similar_classes(data, run.lsc) if data is not None and trained.is_negative else None
    check_flags(run, trained, data, draws=draws, lsc=lsc)
    accuracy: dict[str, float] = {}
    if data is not None:
        accuracy = evaluate_split(run, trained, data, lsc=lsc, table=table)
        if run.explain_metrics:
            measure_explanations(run, trained, data, top1=accuracy["top1"], lsc=lsc)
    if draws and distributed.is_main():
        sources = Sources(trained.in_chans, data=data, numbers=run.vis_id, files=run.image, bad_images=run.bad_images)
        root = output_folder(trained, run.vis_dir, files=data is None)
        note = provenance_text(trained.provenance(data))
        draw_slot_maps(
            trained, sources, root, classes=chosen_classes(run, trained, "classes"),
            versus=chosen_classes(run, trained, "versus") or (), note=note, vis_format=run.vis_format,
        )  # fmt: skip
    if run.report and distributed.is_main():
        report(run, trained, data, accuracy)


def check_flags(
    run: argparse.Namespace, trained: TrainedModel, data: PictureDataset | None, *, draws: bool, lsc: list[int] | None
) -> None:
    """Raise before the evaluation where the flags would fail after it.

    Raises:
        DataError: a picture or a class that does not exist.
        ToolError: a file that cannot be written, or a negative model to be measured without a class to explain.
    """
    shown = draws or (run.report and "vis_id" in run.given)
    if data is not None and shown and max(run.vis_id) >= len(data):
        raise DataError(f"--vis_id {max(run.vis_id)}: the split has pictures 0 to {len(data) - 1}")
    for flag in ("classes", "versus"):
        chosen_classes(run, trained, flag)
    if data is not None and distributed.is_main():
        writable_folder(trained.path.parent)  # gets results.json
        figures = [trained.path.with_name(f"{trained.run}_{name}.png") for name in ("confusion", "calibration")]
        check_outputs(trained.path.with_name("results.json"), *figures)
    if run.explain_metrics and distributed.is_main():
        check_table(trained.path.parent)
    if run.explain_metrics and data is not None and trained.is_negative:
        if data.num_classes < 2:
            raise ToolError("a negative model of one class has no other class to explain: train one of two or more")
        if lsc is None:
            check_several_classes(len(set(data.listing.labels)))
    if run.report:
        check_report(Path(run.report), inputs=[trained.path, run.lsc, *(run.image or ())])
    if draws and run.vis_dir:
        check_folder(Path(run.vis_dir), "--vis_dir", inputs=[*(run.image or ()), run.dataset_dir])
        check_outputs(Path(run.vis_dir, f"overview.{run.vis_format}"))


def chosen_classes(run: argparse.Namespace, trained: TrainedModel, flag: str) -> list[int] | None:
    """Numbers of the classes of the flag ``classes`` or ``versus``; None if it is not given."""
    given = getattr(run, flag)
    return [class_number(name, trained.class_names, flag=f"--{flag}") for name in given] if given else None


def named_checkpoint(run: argparse.Namespace) -> Path:
    """The checkpoint that train.py saves with the same flags."""
    path = checkpoint.checkpoint_path(run.output_dir, checkpoint.run_name(**name_config(run)))
    if not path.is_file():
        raise ToolError(f"{path}: no such file; train.py with the same flags writes it, --checkpoint names another one")
    return path


def evaluate_split(
    run: argparse.Namespace, trained: TrainedModel, data: PictureDataset, *, lsc: list[int] | None,
    table: Path | None = None,
) -> dict[str, float]:  # fmt: skip
    """Evaluate on the whole split; print the metrics, save them next to the checkpoint and return the accuracies."""
    found = Predictions()
    metrics = evaluate(
        CompiledModel(trained.model) if compiles(run.compile, trained.device) else trained.model,
        trained.loader(data, batch_size=run.batch_size, num_workers=run.num_workers),
        ScouterLoss(
            lambda_value=run.lambda_value, power=run.power, relative=trained.config.get("reference", "none") != "none"
        ), device=trained.device,
        negative=trained.is_negative, explained=None if lsc is None else torch.tensor(lsc, device=trained.device),
        amp=amp_dtype(run.amp, trained.device), collect=found.add,
    )  # fmt: skip
    say(f"{trained.path.name} on {metrics['images']} pictures of {run.dataset}: top-1 {metrics['top1']:.2%}, "
        f"top-5 {metrics['top5']:.2%}, loss {metrics['loss']:.4f}, attention {metrics['attn_mean']:.4f}"
        + (f", area {metrics['area']:.4f}" if "area" in metrics else ""))  # fmt: skip
    found.complete()
    save_split_results(
        trained, data, found, metrics=metrics,
        loss={"lambda_value": run.lambda_value, "power": run.power}, table=table,
    )  # fmt: skip
    return {"top1": metrics["top1"], "top5": metrics["top5"]}


def measure_explanations(
    run: argparse.Namespace, trained: TrainedModel, data: PictureDataset, *, top1: float, lsc: list[int] | None
) -> None:
    """Measure the maps of a slot model, and write a row of ``metrics.json`` next to the checkpoint."""
    sample = data.sample(run.metric_images or len(data), seed=run.seed).without_bad_boxes()
    settings = MetricSettings(**metric_settings(run))
    explained = explained_classes(run, trained, data, lsc=lsc)
    start = time.monotonic()
    subject = slot_subject(
        trained, sample, run.map, settings=settings, batch_size=run.batch_size, num_workers=run.num_workers,
        explained=explained,
    )  # fmt: skip
    with autocast(trained.device, amp_dtype(run.amp, trained.device)):
        measured = measure(
            subject, metric_names(run), num_classes=data.num_classes, boxes=sample.boxes,
            claim=slot_claim(trained.model, run.map), statistics=trained.statistics,
        )  # fmt: skip
    row: dict[str, Any] = {
        "checkpoint": trained.path.name, "method": method_name(run, trained), **trained.provenance(data),
        "map": run.map, "top1": top1, "explained": None if explained is None else explained.tolist(),
        "scoring_seconds": time.monotonic() - start, **measured,
    }  # fmt: skip
    if distributed.is_main():
        add_row(trained.path.parent, row, show=True)


def method_name(run: argparse.Namespace, trained: TrainedModel) -> str:
    """Name of the model as in the paper's tables: its sign and the weight of its attention penalty."""
    sign, kind = "-" if trained.is_negative else "+", "" if run.map == "attention" else f" {run.map}"
    return f"SCOUTER{sign} lambda {run.lambda_value:g} ({trained.config['attention']}{kind})"


def explained_classes(
    run: argparse.Namespace, trained: TrainedModel, data: PictureDataset, *, lsc: list[int] | None
) -> torch.Tensor | None:
    """The class (c) that a negative model explains for each true one; None for a positive model."""
    if not trained.is_negative:
        return None
    if lsc is None:
        loader = trained.loader(data, batch_size=run.batch_size, num_workers=run.num_workers)
        lsc = least_similar_by_features(trained.feature_map, loader, data.num_classes)
        names = trained.class_names
        say(f"explained class: the least similar one by the backbone's features, {names[0]} -> {names[lsc[0]]}, "
            f"{names[1]} -> {names[lsc[1]]} ...; --lsc FILE gives others")  # fmt: skip
    return torch.tensor(lsc, device=trained.device)


def report(
    run: argparse.Namespace, trained: TrainedModel, data: PictureDataset | None, accuracy: dict[str, float]
) -> None:
    """Write the report; it shows the maps of the other sign too if its checkpoint is next to this one."""
    numbers = run.vis_id
    if data is not None and "vis_id" not in run.given:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(run.seed))
        numbers = order[:REPORTED_PICTURES].sort().values.tolist()
    names = {**name_config(run), "use_slot": True, "loss_status": 1 if trained.is_negative else -1}
    other = trained.beside(checkpoint.run_name(**names))
    sources = Sources(trained.in_chans, data=data, numbers=numbers, files=run.image, bad_images=run.bad_images)
    models = [trained, other] if other else [trained]
    origin = trained.provenance(data)
    write_report(Path(run.report), models, sources, dataset=run.dataset, accuracy=accuracy, origin=origin)


if __name__ == "__main__":
    finish(run_script(main, "test.py", (ModelError, DataError, TrainingError)))

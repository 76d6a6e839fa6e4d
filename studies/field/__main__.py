"""Compare SCOUTER with other ways to explain a classifier: ``python -m studies.field``."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("field")  # before anything else is imported

from studies.field.flags import parse_args

if __name__ == "__main__":
    parse_args()  # before the heavy imports, so that --help and flag errors are immediate

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dataset import DataError
from engine import TrainingError
from engine.explain.attribution.settings import MethodSettings
from engine.explain.attribution.split_model import SplitModel
from engine.explain.measure import passes, seconds_of_forward
from engine.explain.settings import MetricSettings
from engine.explain.table import COLUMNS
from sloter import ModelError
from sloter.config import option_values
from studies.field.data import Backbone, FieldData
from studies.field.figure import save_field
from studies.field.measure import MEASURING_CODE, Measuring, forwards_of, measure
from studies.field.models import TRAINING_CODE, OnBackbone, as_plain, described, restore, setting_of, train
from studies.field.plan import MODELS, OWN, Row, pictures_for, rows_of
from studies.field.published import PUBLISHED
from studies.field.steps import Steps
from studies.field.table import flat, markdown, measured_row
from studies.head_study.content import code_fingerprint
from studies.head_study.sources import DatasetChoice
from studies.machine import hardware, machine
from tools import ToolError
from tools.checkpoint import read_state_dict
from tools.console import run_script, say, set_up_console
from tools.ending import finish
from tools.files import check_outputs, has_keys, keep_foreign, save_csv, writable_folder, write_atomically
from tools.folder_lock import held
from tools.machine import keep_freed_memory, pick_device
from tools.provenance import file_fingerprint

FILES = ("field.md", "field.csv", "field.json", "field.png")


def main() -> None:
    """Do the steps that are not done yet, and write the table of all."""
    args = parse_args()
    set_up_console("field")
    device = pick_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    folder = writable_folder(args.output_dir)
    check_outputs(*(folder / name for name in FILES))
    with held(str(folder), "field"):
        weights = read_state_dict(args.backbone_weights) if args.backbone_weights else None
        backbone = Backbone(args.model, weights, str(args.backbone_weights), args.img_size)
        choices = [DatasetChoice(*choice) for choice in args.data]
        sets = [FieldData(choice, backbone, folder=folder, device=device) for choice in choices]
        steps, rows = Steps(), []
        for data in sets:
            for name in args.models:
                rows += model_rows(args, steps, data, name, folder / data.choice.name)
        write_table(args, folder, rows, sets, steps, device)
    if steps.failed:
        names = ", ".join(title for title, _ in steps.failed)
        raise ToolError(f"{len(steps.failed)} of the steps failed, and the table is without them: {names}; the same "
                        "command tries them again")  # fmt: skip


def model_rows(
    args: argparse.Namespace, steps: Steps, data: FieldData, name: str, folder: Path
) -> list[dict[str, Any]]:
    """Train a model, measure its maps, and return its rows of the table; what fails is left out."""
    setting = setting_of(MODELS[name], epochs=args.epochs, batch_size=args.train_batch, seed=args.seed)
    weights, title = folder / name / "head.safetensors", f"{data.title} classes, {name}"
    made_of = {**data.made_of, "setting": described(setting), "code": code_fingerprint(*TRAINING_CODE)}
    trained = steps.run(
        f"{title}, training", folder / name / "training.json", made_of, lambda: train(data, setting, weights),
        also=(weights,),
    )  # fmt: skip
    if trained is None:
        return []
    say(f"{title}: top-1 {trained['top1']:.2%}")
    model = restore(data, setting, weights)
    rows, split = [], None
    for row in rows_of([name], args.methods):
        try:
            split = split or (as_plain(data, model) if row.method != OWN else None)
        except (ToolError, ModelError) as error:  # of all methods alike
            steps.fail(f"{title}, all methods", error, folder / name / "methods.error.txt")
            break
        found = measured(args, steps, data, model, split, row, folder / name, title, made_of)
        if found is not None:
            rows.append(measured_row(data.title, row, trained, found))
    return rows


def measured(
    args: argparse.Namespace, steps: Steps, data: FieldData, model: OnBackbone, split: SplitModel | None, row: Row,
    folder: Path, title: str, trained_of: dict[str, Any],
) -> dict[str, Any] | None:  # fmt: skip
    """Result of the measurement of a row; None if it fails."""
    methods = MethodSettings(batch_size=args.batch_size, **option_values(MethodSettings, vars(args)))
    metrics = MetricSettings(seed=args.seed, **option_values(MetricSettings, vars(args)))
    forwards = forwards_of(row.method, split, methods)
    count = min(
        pictures_for(forwards, limit=args.slow_forwards, images=args.images, slow_images=args.slow_images),
        len(data.measured),
    )
    options = {} if row.method == OWN else methods.of_maps()
    made_of = {"trained": trained_of, "head": file_fingerprint(folder / "head.safetensors"), "method": row.method,
               "options": options, "names": args.metrics, "metrics": asdict(metrics), "images": count,
               "seed": args.seed, "code": code_fingerprint(*MEASURING_CODE)}  # fmt: skip
    title, settings = f"{title}, {row.method}", Measuring(args.metrics, metrics, methods, args.batch_size, args.seed)

    def work() -> dict[str, Any]:
        others, explanations = passes(args.metrics, metrics)
        zeros = torch.zeros(8, data.in_chans, *data.chosen.img_size, device=data.device)
        expected = seconds_of_forward(model.logits, zeros) * count * (others + explanations * forwards)
        say(f"{title}: {count} pictures, {forwards:.0f} forward passes for a map: about {expected:.0f} s")
        found = measure(data, model, split, row.method, count=count, negative=MODELS[row.model].sign < 0,
                        settings=settings, title=title)  # fmt: skip
        shown = (f"{name} {found[name]:.3f}" for name in COLUMNS if name in found)
        say(f"{title}: {found['scoring_seconds']:.0f} s: {', '.join(shown)}")
        return {**found, "forwards": forwards, "hardware": hardware(data.device)}

    return steps.run(title, folder / f"{row.method.replace(' ', '_')}.json", made_of, work)


def notes_of(args: argparse.Namespace, sets: Sequence[FieldData], hardware: Sequence[str]) -> list[str]:
    """Notes below the table: how it was measured, and how it is to be read."""
    settings = ", ".join(f"{name} {value:g}" for name, value in option_values(MetricSettings, vars(args)).items())
    pictures = "; ".join(f"{data.title} classes, {len(data.measured)} validation pictures"
                         f"{'' if data.measured is data.val else ' with boxes'}" for data in sets)  # fmt: skip
    return [
        f"Measured: {args.model}, frozen, {args.img_size[0]}x{args.img_size[1]}, heads trained for {args.epochs} "
        f"epochs, seed {args.seed}; up to {args.images} pictures, or {args.slow_images} for more than "
        f"{args.slow_forwards:g} forward passes, drawn with seed {args.seed} ({pictures}). Metrics: {settings}. "
        f"{'; '.join(hardware)}.",
        "n: pictures; ±: half of the 95 % bootstrap interval over them; forwards: forward passes for the map of one "
        "class; wall: seconds of the whole row, metrics included. A star: of the true class, where a negative model "
        "explains the least similar one. The area of a model's own map is scaled over all classes, that of a method's "
        "map by itself.",
        "Published numbers are of other data, backbones and trainings: they say what others reach, not who is better.",
    ]


def write_table(
    args: argparse.Namespace, folder: Path, rows: list[dict[str, Any]], sets: Sequence[FieldData], steps: Steps,
    device: torch.device,
) -> None:  # fmt: skip
    """Write the table as Markdown, CSV and JSON, and the figure."""
    notes = notes_of(args, sets, list(dict.fromkeys(row["hardware"] for row in rows)))
    flags = {name: value for name, value in vars(args).items() if isinstance(value, str | int | float | tuple | list)}
    failed = [{"step": title, "reason": reason} for title, reason in steps.failed]
    content = {"machine": machine(device), "flags": flags, "rows": rows, "published": PUBLISHED, "failed": failed}
    keep_foreign(folder / "field.json", has_keys("rows", "published"))
    write_atomically(folder / "field.json", (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    write_atomically(folder / "field.md", markdown(rows, PUBLISHED, notes).encode())
    save_csv(folder / "field.csv", [flat(row) for row in [*rows, *PUBLISHED]], columns=("data", "model", "source"))
    if rows:
        save_field(folder / "field.png", rows, note=notes[0])
    say(f"saved: {folder / 'field.md'}, field.csv, field.json and field.png beside it")


if __name__ == "__main__":
    finish(run_script(main, "field", (ModelError, DataError, TrainingError, ToolError)))

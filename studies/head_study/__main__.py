"""Compare classifier heads on the frozen features of a dataset: ``python -m studies.head_study``."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("head_study")  # before anything else is imported

from studies.head_study.flags import parse_args

if __name__ == "__main__":
    parse_args()  # before the heavy imports, so that --help and flag errors are immediate

import argparse
import itertools
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from dataset import DataError
from engine import TrainingError
from sloter import ModelError
from sloter.backbone import create_backbone
from sloter.model_names import weights_name
from sloter.weights import pretrained_statistics
from studies.head_study.content import weights_fingerprint
from studies.head_study.features import Features, load_or_compute
from studies.head_study.figure import save_study
from studies.head_study.heads import LOSS_OPTIONS, loss_options
from studies.head_study.insertion import InsertionDeletion
from studies.head_study.sources import DatasetChoice, open_source
from studies.head_study.train import Setting, train_head
from tools import ToolError
from tools.checkpoint import read_state_dict
from tools.console import format_table, run_script, say, set_up_console
from tools.ending import finish
from tools.files import check_outputs, has_keys, keep_foreign, save_csv, writable_folder, write_atomically
from tools.machine import amp_dtype, keep_freed_memory, pick_device

METRICS = (
    "top1", "best", "grid", "random_head", "precision", "area", "empty", "gini", "alike", "grid_why_not",
    "why_not_alike", "iauc", "dauc", "full", "attn_mean", "loss",
)  # fmt: skip
WITHOUT_SLOTS = ("linear", "baseline")


def main() -> None:
    """Train and measure every head, sign, learning rate and seed; save runs, table and figure."""
    args = parse_args()
    set_up_console("head_study")
    device = pick_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    folder = writable_folder(args.output_dir)
    check_outputs(*(folder / f"head_study.{ending}" for ending in ("json", "csv", "png")))
    train, val, scorer = load_features(args, device)
    say(f"{len(train)} training and {len(val)} validation pictures, {train.num_classes} classes, features of "
        f"{train.grid[0]}x{train.grid[1]}x{train.maps.shape[2]}")  # fmt: skip
    if len(train) < args.batch_size:
        say(f"less than a batch of {args.batch_size}: each epoch is one batch of {len(train)} pictures")
    runs: list[dict[str, Any]] = []
    for head, sign, lr in itertools.product(args.heads, args.signs, args.lrs):
        if sign < 0 and head in WITHOUT_SLOTS:
            continue
        for seed in range(args.seeds):
            title, key = f"{head} {sign:+d} lr {lr:g} seed {seed}", {"head": head, "sign": sign, "lr": lr, "seed": seed}
            try:
                metrics = run_head(choose_setting(args, head, sign, lr, seed, device), train, val, scorer, device)
            except TrainingError as error:  # a result, too: the training of this head diverges at this rate
                say(f"{title}: {error}")
                runs.append({**key, "top1": 0.0, "stable": False})
                continue
            say(f"{title}: {', '.join(f'{name} {metrics[name]:.4f}' for name in METRICS if name in metrics)}")
            runs.append({**key, **metrics})
    table = summarise(runs)
    say(format_table(table), several=True)
    origin = {"data": origin_text(args, len(val), train.num_classes)}
    keep_foreign(folder / "head_study.json", has_keys("runs", "table"))
    write_atomically(folder / "head_study.json", as_json({"runs": runs, "table": table}, **origin))
    save_csv(folder / "head_study.csv", [{**row, **origin} for row in table], columns=("head", "sign"))
    save_study(folder / "head_study.png", runs, note=origin["data"])
    say(f"saved: {folder / 'head_study.json'}, head_study.csv and head_study.png beside it")


def origin_text(args: argparse.Namespace, pictures: int, classes: int) -> str:
    """Data of a study in a few words, for its files and its figure."""
    names = " + ".join(f"{name} in {Path(folder).resolve().name}/" if folder else name for name, folder, _ in args.data)
    frames = f" in frames of {args.frames} patterns" if args.frames else ""
    return (
        f"{names}{frames}, val, {pictures} pictures, {classes} classes, {args.img_size[0]} x {args.img_size[1]} pixels"
    )


def choose_setting(
    args: argparse.Namespace, head: str, sign: int, lr: float, seed: int, device: torch.device
) -> Setting:  # fmt: skip
    """The setting of one run; label smoothing and temperature default to those of the head."""
    given = {name: vars(args)[name] for name in LOSS_OPTIONS if vars(args)[name] is not None}
    return Setting(
        head=head, sign=sign, lr=lr, epochs=args.epochs, batch_size=args.batch_size, weight_decay=args.weight_decay,
        lambda_value=args.lambda_value, power=args.power, seed=seed, amp=amp_dtype(args.amp, device),
        changes={} if head in WITHOUT_SLOTS else args.changes, **{**loss_options(head), **given},
    )  # fmt: skip


def run_head(
    setting: Setting, train: Features, val: Features, scorer: InsertionDeletion | None, device: torch.device
) -> dict[str, Any]:
    """Train one head and measure its maps; a negative one has no insertion and deletion."""
    model, metrics = train_head(train, val, setting, device)
    return metrics | scorer(model) if scorer is not None and setting.sign > 0 else metrics


def load_features(
    args: argparse.Namespace, device: torch.device
) -> tuple[Features, Features, InsertionDeletion | None]:  # fmt: skip
    """Features of both splits, computed or read, and the measurement of insertion and deletion, if requested."""
    weights = read_state_dict(args.backbone_weights) if args.backbone_weights else None
    backbone = create_backbone(
        args.model, num_classes=0, in_chans=3, img_size=args.img_size, pretrained=weights is None, weights=weights,
        weights_source=str(args.backbone_weights),
    )  # fmt: skip
    statistics = pretrained_statistics(args.model if weights else weights_name(args.model))
    weights_hash = weights_fingerprint(backbone)
    choices = [DatasetChoice(*choice) for choice in args.data]
    name = "_".join(choice.name for choice in choices).lower() + (f"_frames{args.frames}" if args.frames else "")
    splits, scorer = [], None
    for split in ("train", "val"):
        source = open_source(choices, split, img_size=args.img_size, bad_images="error", frames=args.frames)
        made_of = {"name": name, "split": split, "data": args.data, "frames": args.frames, "img_size": args.img_size,
                   "model": args.model, "weights": weights_hash, "content": source.content}  # fmt: skip
        splits.append(load_or_compute(
            Path(args.features_dir or args.output_dir), made_of, source=source, backbone=backbone,
            statistics=statistics, batch_size=32, device=device,
        ))  # fmt: skip
        if split == "val" and args.score_images:
            scorer = InsertionDeletion(
                backbone, source, statistics=statistics, images=args.score_images, device=device
            )  # fmt: skip
    return splits[0], splits[1], scorer


def as_json(lists: dict[str, list[dict[str, Any]]], **origin: str) -> bytes:
    """Lists of rows and their origin as JSON, which has no NaN and no infinity: null stands for both."""
    plain = {
        key: [
            {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
            for row in rows
        ]
        for key, rows in lists.items()
    }
    return (json.dumps({**origin, **plain}, indent=2, allow_nan=False) + "\n").encode()


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each head, sign and rate: means over the seeds, deviation of the accuracy, share of stable runs."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["head"], run["sign"], run["lr"]].append(run)
    table = []
    for (head, sign, lr), members in groups.items():
        row: dict[str, Any] = {"head": head, "sign": f"{sign:+d}", "lr": f"{lr:g}", "seeds": len(members)}
        for name in METRICS:
            values = [member[name] for member in members if name in member]
            row[name] = statistics.fmean(values) if values else float("nan")
        row["top1 std"] = statistics.stdev([m["top1"] for m in members]) if len(members) > 1 else float("nan")
        row["stable"] = statistics.fmean(member["stable"] for member in members)
        table.append(row)
    return table


if __name__ == "__main__":
    finish(run_script(main, "head_study", (ModelError, DataError, TrainingError, ToolError)))

"""Train SCOUTER, or the plain classifier it is compared with: flags in, checkpoints, a log and curves out."""

import argparse
import logging
import math
import shlex
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from args import (
    FIRST_FORM,
    command_line,
    data_config,
    expand_runs,
    model_config,
    name_config,
    parse_args,
    plain_settings,
)

if __name__ == "__main__":
    parse_args()  # before the heavy imports, so that --help and a wrong flag are answered at once

import torch
from matplotlib.figure import Figure
from timm.utils import ModelEmaV3
from torch import nn
from torchvision.transforms.v2.functional import to_pil_image

from dataset import DataError
from dataset.cache import cache_pictures
from dataset.loaders import DeviceLoader, build_loader, normalised_picture, usable_workers
from dataset.pictures import PictureDataset
from dataset.registry import build_dataset, dataset_spec, least_similar_classes
from dataset.transforms import batch_mixing
from engine import TrainingError
from engine.evaluate import evaluate
from engine.explain import explain_picture, interesting_classes
from engine.optim import build_optimizer, build_scheduler, restore_optimizer
from engine.start import set_class_means
from engine.train import EpochStopped, train_one_epoch
from engine.update import Update, average_of
from sloter import ModelError
from sloter.backbone import FeatureModel, body_parameters, check_name, grid_features
from sloter.loss import ScouterLoss, balanced_weights
from sloter.slot_model import SlotModel, build_model
from sloter.weights import pretrained_statistics
from tools import ToolError, checkpoint, distributed, sweep
from tools.board import Board, check_board
from tools.console import run_script
from tools.cost import cost_table, parameters
from tools.devices import pick_device
from tools.draw import OverviewRow, class_maps, draw_overview, save_curves
from tools.ending import finish
from tools.logger import RunLog, epoch_line, say, set_up_console
from tools.memory import keep_freed_memory
from tools.numerics import amp_dtype, set_numerics
from tools.random_state import random_states, restore_random_state
from tools.stopping import Interrupted, StopRequest

logger = logging.getLogger("train")

MANY = 50  # classes from which on the published form is hinted at
FOLLOWED = 6  # pictures whose maps TensorBoard shows
SHOWN, FEW = 4, 10  # likely classes of each; so many classes are all shown


def main() -> None:
    args = parse_args()
    set_up_console("train.py")
    distributed.join(dist_url=args.dist_url, world_size=args.world_size)
    device = pick_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    set_numerics(device, tf32=args.tf32, deterministic=args.deterministic)
    if args.tensorboard and args.output_dir:
        check_board()
    distributed.init(device)
    runs = expand_runs(args)
    if len(runs) > 1 and (args.thop or args.resume not in (None, "auto")):
        raise ToolError("--thop and --resume FILE are for a single run, not for a sweep")
    if args.thop:
        print_cost(runs[0])
        return
    if len(runs) == 1:
        train(runs[0], device)
        return

    def train_in(number: int, folder: str) -> dict[str, Any]:
        run = runs[number]
        run.pre_dir, run.output_dir, run.resume = run.pre_dir or args.output_dir, folder, "auto" if folder else None
        return train(run, device)

    entries = [sweep.SweepRun(run.swept, run.repeat, plain_settings(run)) for run in runs]
    sweep.run_all(args.output_dir, entries, train_in, failures=(TrainingError,))


@dataclass
class Session:
    """All that a run trains with, and how far it is."""

    name: str
    model: FeatureModel
    average: ModelEmaV3 | None
    parallel: nn.Module  # the model as the training calls it
    configs: dict[str, Any]  # model_config, data_config, train_config of the checkpoint
    train_loader: DeviceLoader
    val_loader: DeviceLoader
    criterion: ScouterLoss
    update: Update
    start: int
    explained: torch.Tensor | None  # (c) the class that a negative model explains for each true one
    amp: torch.dtype | None
    record: dict[str, Any] = field(default_factory=dict)  # of the last complete epoch
    best: float = -1.0
    left: dict[str, Any] | None = None  # how far the epoch is in which the run was left

    @property
    def evaluated(self) -> FeatureModel:
        """The model that is evaluated and saved as the run's: the average, if there is one."""
        return self.average.module if self.average else self.model


def train(run: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """One run, from its flags to its last checkpoint; returns the record of its last epoch."""
    s = prepare(run, device)
    writes = bool(run.output_dir) and distributed.is_main()
    log = RunLog(Path(run.output_dir, "log.jsonl"), s.name, first_epoch=s.start) if writes else None
    board = Board(run.output_dir, s.name, first_epoch=s.start) if writes and run.tensorboard else None
    if log:
        log.restore(s.record)
    try:
        with StopRequest(device) as stop:
            for epoch in range(s.start, run.epochs):
                record = train_epoch(run, s, epoch, device, stop)
                if log:
                    save(run, s, record)
                    log.add(record)
                    save_curves(Path(run.output_dir, "curves.png"), log.records)
                if board:
                    board.add(record, draw_progress(s, device))
                s.record, s.best = record, max(s.best, record["val_top1"])
                if epoch + 1 < run.epochs and stop():
                    raise Interrupted(f"{stop.signal}: {how_to_go_on(run, s)}")
    except KeyboardInterrupt:
        say(f"\n{how_to_go_on(run, s)}")
        raise
    finally:
        if board:
            board.close()
    if log and s.start < run.epochs:
        say(f"saved: {checkpoint.checkpoint_path(run.output_dir, s.name)}, and beside it log.jsonl and curves.png")
    return s.record


def train_epoch(
    run: argparse.Namespace, s: Session, epoch: int, device: torch.device, stop: StopRequest
) -> dict[str, Any]:  # fmt: skip
    """Train and evaluate; returns the epoch's record.

    Raises:
        Interrupted: a signal came; what there is of the epoch is saved.
    """
    # Seeded anew each epoch, so that a resumed run draws what the uninterrupted one would have drawn.
    torch.manual_seed(((run.seed * 1_000_003 + epoch) * 65_537 + distributed.rank()) % 2**63)
    before = None
    s.train_loader.set_epoch(epoch)
    if s.left:
        before = EpochStopped(**{name: s.left[name] for name in ("images", "sums", "seconds")})
        s.train_loader.set_epoch(epoch, skip=before.images)
        restore_random_state(s.left["random"], device)
        s.left = None
    try:
        figures = train_one_epoch(
            s.parallel, s.train_loader, s.criterion, s.update, epoch=epoch, epochs=run.epochs, device=device, stop=stop,
            before=before,
        )  # fmt: skip
    except EpochStopped as stopped:
        left = {"images": stopped.images, "sums": stopped.sums, "seconds": stopped.seconds,
                "share": s.update.done / steps_per_epoch(run, s.train_loader) - epoch,
                "random": random_states(device)}  # fmt: skip
        if run.output_dir and distributed.is_main():
            checkpoint.save(checkpoint.checkpoint_path(run.output_dir, s.name), content(s, epoch - 1, s.record, left))
        raise Interrupted(f"{stop.signal}: {how_to_go_on(run, s, epoch=epoch, images=stopped.images)}") from None
    distributed.share_buffers(s.evaluated)
    val = evaluate(s.evaluated, s.val_loader, s.criterion, device=device, negative=is_negative(run),
                   explained=s.explained, amp=s.amp)  # fmt: skip
    record = {"epoch": epoch, **figures, **{f"val_{k}": v for k, v in val.items() if k != "images"}}
    say(epoch_line(record, run.epochs, top5=len(s.configs["data_config"]["class_names"]) > 5))
    return record


def steps_per_epoch(run: argparse.Namespace, loader: DeviceLoader) -> int:
    """Changes of the weights in a whole epoch."""
    loader.set_epoch(0)
    return math.ceil(len(loader) / run.accum_steps)


def draw_progress(s: Session, device: torch.device) -> Figure | None:
    """The evidence that a slot model finds now in a few pictures of the validation split, always the same."""
    if not s.configs["model_config"]["use_slot"]:
        return None
    data, names = s.val_loader.dataset, s.configs["data_config"]["class_names"]
    negative = s.configs["model_config"]["loss_status"] < 0
    statistics = {key: s.configs["data_config"][key] for key in ("mean", "std")}
    rows = []
    for i in range(0, len(data), max(len(data) // FOLLOWED, 1)):
        pixels, label = data.pixels(i), data.listing.labels[i]
        explanation = explain_picture(s.evaluated, normalised_picture(pixels.to(device), **statistics))
        likely = interesting_classes(explanation, count=SHOWN, negative=negative, label=label)
        # A class keeps its column from epoch to epoch where all can be shown; the true one always does.
        classes = list(range(len(names))) if len(names) <= FEW else [label, *(c for c in likely if c != label)]
        columns = class_maps(explanation, names, classes, label=label)
        rows.append(OverviewRow(to_pil_image(pixels), (str(i), names[label]), columns))
    return draw_overview(rows[:FOLLOWED], negative=negative)


def is_negative(run: argparse.Namespace) -> bool:
    return run.use_slot and run.loss_status < 0


def prepare(run: argparse.Namespace, device: torch.device) -> Session:
    """Everything between the flags and the first step, the state of a resumed run included."""
    if run.output_dir and distributed.is_main():
        checkpoint.writable_folder(run.output_dir)
    name = checkpoint.run_name(**name_config(run))
    check_name(run.model)  # before the data, which may be long in coming
    amp = amp_dtype(run.amp, device)
    before = load_state(run, name)
    check_same_start(before)
    train_set, val_set = load_split(run, "train"), load_split(run, "val")
    model, config, statistics = prepare_model(run, train_set, before)
    memory_format = torch.channels_last if run.channels_last else torch.contiguous_format
    model.to(device).to(memory_format=memory_format)
    if run.sync_bn and device.type != "cuda":
        raise ToolError(f"--sync_bn true: PyTorch synchronises batch norm on GPUs alone, not on a {device.type}")
    if run.sync_bn and distributed.world_size() > 1:
        model.synchronise_batch_norm()
    if run.cache == "ram":
        cache_pictures(
            [train_set, val_set], workers=usable_workers(run.num_workers), copies=distributed.local_world_size()
        )
    make_loader = partial(
        build_loader, batch_size=run.batch_size, device=device, num_workers=run.num_workers, seed=run.seed,
        rank=distributed.rank(), world_size=distributed.world_size(), memory_format=memory_format, **statistics,
    )  # fmt: skip
    mixing = batch_mixing(run.aug_policy or (), train_set.num_classes)
    train_loader = make_loader(dataset=train_set, train=True, mixing=mixing)
    if isinstance(model, SlotModel) and run.slot_init == "means" and not before:
        plain = make_loader(dataset=train_set.plain(), train=False)
        set_class_means(model, plain, num_classes=train_set.num_classes, amp=amp)
    val_loader = make_loader(dataset=val_set, train=False)
    optimizer = build_optimizer(model, lr=run.lr, weight_decay=run.weight_decay)
    if before:
        try:
            restore_optimizer(optimizer, before["optimizer"], lr=run.lr, weight_decay=run.weight_decay)
        except ValueError as error:
            was = before["train_config"]["freeze_layers"]
            raise ToolError(f"--resume: other layers were trained (--freeze_layers {was}), not those of now") from error
    start, left = (before["epoch"] + 1, before.get("left")) if before else (run.start_epoch, None)
    steps = steps_per_epoch(run, train_loader)
    done = round((start + (left["share"] if left else 0)) * steps)
    scheduler = build_scheduler(
        optimizer, sched=run.sched, steps_per_epoch=steps, epochs=run.epochs, lr_drop=run.lr_drop,
        warmup_epochs=run.warmup_epochs, done=done,
    )  # fmt: skip
    average = average_of(model, run.ema)
    if average and before and "raw_model" in before:
        average.module.load_state_dict(before["model"])
    for module in (model, average.module if average else None) if run.compile else ():
        if module is not None:
            module.compile()
    parallel = distributed.wrap(model, device)
    update = Update(
        parallel, optimizer, scheduler, device=device, amp=amp, clip_grad=run.clip_grad, accum_steps=run.accum_steps,
        average=average, done=done,
    )  # fmt: skip
    if before and before.get("scaler"):
        update.scaler.load_state_dict(before["scaler"])
    data = {"dataset": run.dataset, "class_names": train_set.class_names, "val_ratio": run.val_ratio, **statistics}
    configs = {"model_config": config, "data_config": data, "train_config": plain_settings(run)}
    counts = torch.bincount(torch.tensor(train_set.listing.labels), minlength=train_set.num_classes)
    weights = balanced_weights(counts) if run.class_weights == "balanced" else None
    criterion = ScouterLoss(
        lambda_value=run.lambda_value,
        power=run.power,
        class_weights=weights,
        label_smoothing=run.label_smoothing,
        temperature=run.temperature,
    ).to(device)
    lsc = least_similar_classes(val_set, run.lsc) if is_negative(run) else None
    explained = None if lsc is None else torch.tensor(lsc, device=device)
    session = Session(
        name, model, average, parallel, configs, train_loader, val_loader, criterion, update, start, explained, amp
    )
    if before:
        session.record, session.best, session.left = before["metrics"], before["best_top1"], left
        where = f"{left['images']} pictures into epoch {start + 1}" if left else f"epoch {start}, which is done"
        say(f"going on from {where}{changes(before['train_config'], configs['train_config'])}")
    processes = f", {distributed.world_size()} processes" if distributed.active() else ""
    say(f"{name}: {len(train_set)} training and {len(val_set)} validation pictures, {train_set.num_classes} classes, "
        f"{parameters(model)[0]:,} trainable parameters, {device.type}{processes}")  # fmt: skip
    if (world := distributed.world_size()) > 1:
        batch = run.batch_size * run.accum_steps
        logger.warning("global batch %d x %d = %d pictures; --lr stays %g, scaled linearly it would be %g",
                       batch, world, batch * world, run.lr, run.lr * world)  # fmt: skip
    if run.use_slot and run.attention == "paper" and train_set.num_classes >= MANY:
        logger.warning("%d classes: the published form of attention loses accuracy from about %d on; try "
                       "@recipes/direct.txt", train_set.num_classes, MANY)  # fmt: skip
    tell_imbalance(counts, train_set.class_names, weighted=weights is not None)
    if session.start >= run.epochs:
        say(f"all {run.epochs} epochs are done; give a larger --epochs to go on")
    return session


def tell_imbalance(counts: torch.Tensor, names: list[str], *, weighted: bool) -> None:
    """Say so where the largest class has at least twice as many training pictures as the smallest."""
    present = counts[counts > 0]
    if present.max() < 2 * present.min():
        return
    large, small = (names[int((counts == extreme).nonzero()[0])] for extreme in (present.max(), present.min()))
    say(f"classes of unequal size: {int(present.max())} training pictures of {large}, {int(present.min())} of {small}; "
        + ("weighted in the loss" if weighted else "--class_weights balanced weighs them"))  # fmt: skip


def save(run: argparse.Namespace, s: Session, record: dict[str, Any]) -> None:
    """Write the checkpoints of an epoch."""
    epoch, top1 = record["epoch"], record["val_top1"]
    numbered = (epoch + 1) % 10 == 0 or (epoch + 1) % run.lr_drop == 0
    state = {**content(s, epoch, record), "best_top1": max(s.best, top1)}
    checkpoint.save_epoch(run.output_dir, s.name, state, best=top1 > s.best, numbered=numbered)


def content(
    s: Session, epoch: int, record: dict[str, Any], left: dict[str, Any] | None = None
) -> dict[str, Any]:  # fmt: skip
    """A checkpoint after a whole epoch, or, with ``left``, some way into the next one."""
    state = {
        **s.configs,
        "model": s.evaluated.state_dict(),
        "optimizer": s.update.optimizer.state_dict(),
        "scaler": s.update.scaler.state_dict(),
        "epoch": epoch,
        "metrics": record,
        "best_top1": s.best,
    }
    if s.average:
        state["raw_model"] = s.model.state_dict()
    return state | ({"left": left} if left else {})


def load_split(run: argparse.Namespace, split: str) -> PictureDataset:
    config = data_config(run, first_classes=dataset_spec(run.dataset).first_classes)
    with distributed.main_first():
        return build_dataset(run.dataset, split, augment=run.aug, policies=run.aug_policy or (), **config)


def load_state(run: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """The checkpoint to go on from; None starts from the beginning."""
    last = checkpoint.checkpoint_path(run.output_dir, name)
    is_there = bool(run.output_dir) and last.is_file()
    resume = run.resume
    if is_there and resume != "auto":
        # A checkpoint that was there before the launch is of another run, and a restart must not take it for its own.
        written = str(last.stat().st_mtime_ns)
        if not distributed.restarts():
            distributed.keep(str(last), written)
        elif distributed.kept(str(last)) != written:
            resume = "auto"
    if distributed.restarts():
        found = f"going on from {last}" if is_there and resume == "auto" else "no epoch was saved before it"
        say(f"restart {distributed.restarts()}: {found}")
    if resume is None or (resume == "auto" and not is_there):
        if is_there:
            logger.warning("%s is there and will be replaced; --resume auto goes on from it instead", last)
        return None
    path = last if resume == "auto" else Path(resume)
    state = checkpoint.load(path)
    if "optimizer" not in state:
        raise ToolError(f"--resume {path}: written by the published code, it has no state to go on from")
    return state


def check_same_start(before: dict[str, Any] | None) -> None:
    """Processes that see different checkpoints would train different models, and wait for each other in vain."""
    left = before.get("left") if before else None
    starts = distributed.gather([(before["epoch"] + 1 if before else 0, left["images"] if left else 0)])
    if len(set(starts)) > 1:
        epochs = ", ".join(str(epoch) for epoch, _ in starts)
        raise ToolError(f"the processes would start from different places (epochs {epochs}): all of them "
                        "must see the same --output_dir, or --resume FILE")  # fmt: skip


def prepare_model(
    run: argparse.Namespace, train_set: PictureDataset, before: dict[str, Any] | None
) -> tuple[FeatureModel, dict[str, Any], dict[str, Any]]:
    """The model, its configuration, and the mean and deviation that it expects of its pictures."""
    config = model_config(run, num_classes=train_set.num_classes, in_chans=train_set.in_chans)
    weights, statistics, stem = ({}, {}, "timm") if before else initial_weights(run, in_chans=train_set.in_chans)
    config["stem"] = before["model_config"]["stem"] if before else stem
    has_weights = bool(run.use_pre or run.backbone_weights or run.pre_trained)
    if not has_weights and "freeze_layers" in run.given and run.freeze_layers:
        logger.warning("--freeze_layers %d: nothing is frozen, the backbone starts without weights", run.freeze_layers)
    torch.manual_seed(run.seed % 2**63)
    model = build_model(**config, **weights, freeze_stages=run.freeze_layers if has_weights else 0)
    f = model.feature_shape(train_set.in_chans, run.img_size)[0]
    if run.grad_checkpointing:
        model.checkpoint_gradients()
    if "channel" in run.given and run.channel != f:
        logger.warning("--channel %d: the feature map of this backbone has %d channels, which counts", run.channel, f)
    spec = dataset_spec(run.dataset)
    statistics = {"mean": spec.mean, "std": spec.std} | statistics
    if before:
        saved = {**(FIRST_FORM if run.use_slot else {}), **before["model_config"]}
        wrong = [f"{key} {saved.get(key)}, not {value}" for key, value in config.items() if value != saved.get(key)]
        if wrong or set(saved) - set(config):
            raise ToolError(
                f"--resume: its model is not that of the flags, but has {'; '.join(wrong)}; "
                "give the flags it was trained with"
            )
        model.load_state_dict(before.get("raw_model", before["model"]))
        statistics = {key: before["data_config"][key] for key in ("mean", "std")}
    return model, config, statistics


def initial_weights(run: argparse.Namespace, *, in_chans: int) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Where the backbone's weights come from (keywords of build_model), the statistics they expect, their stem."""
    if run.use_pre:
        pre = load_pre(run)
        state = {key.removeprefix("backbone."): v for key, v in pre["model"].items() if key.startswith("backbone.")}
        statistics = {key: pre["data_config"][key] for key in ("mean", "std")}
        weights = {"weights": state, "weights_source": "the checkpoint of --use_pre"}
        return weights, statistics, pre["model_config"].get("stem", "timm")
    if run.backbone_weights:
        weights = {"weights": checkpoint.read_state_dict(run.backbone_weights), "weights_source": run.backbone_weights}
    else:
        weights = {"pretrained": run.pre_trained}
    expected = in_chans == 3 and (run.backbone_weights or run.pre_trained)
    return weights, pretrained_statistics(run.model) if expected else {}, "timm"


def changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What a run that goes on does otherwise than before, of what makes a difference to its training."""
    names = ("lr", "sched", "lr_drop", "warmup_epochs", "batch_size", "accum_steps", "ema", "amp", "weight_decay",
             "clip_grad", "lambda_value", "power", "class_weights", "label_smoothing", "temperature", "aug",
             "aug_policy", "seed", "epochs")  # fmt: skip
    told = [f"{name} {now[name]}, before {before[name]}" for name in names if now[name] != before.get(name, now[name])]
    return f" (changed: {'; '.join(told)})" if told else ""


def load_pre(run: argparse.Namespace) -> dict[str, Any]:
    """The plain classifier whose backbone ``--use_pre`` starts from."""
    folder = run.pre_dir or run.output_dir
    path = checkpoint.checkpoint_path(folder, checkpoint.run_name(run.dataset, use_slot=False, loss_status=1))
    if not path.is_file():
        flags = {**run.swept, "use_slot": "false", "use_pre": "false", "output_dir": folder}
        makes = " ".join([command_line(), *(f"--{name} {shlex.quote(str(value))}" for name, value in flags.items())])
        raise ToolError(f"--use_pre true: {path} is not there; make it with: {makes}")
    pre = checkpoint.load(path)
    if pre["model_config"]["backbone"] != run.model:
        raise ToolError(f"--use_pre true: {path} is a {pre['model_config']['backbone']}, not a {run.model}")
    return pre


def how_to_go_on(run: argparse.Namespace, s: Session, *, epoch: int | None = None, images: int = 0) -> str:
    """What is saved of a run that is left, and the command that takes it up again."""
    if not run.output_dir or (not s.record and epoch is None):
        return "no epoch was complete, or nothing was to be saved"
    again = f"{command_line()} --resume auto"  # the last flag counts
    if epoch is None:
        return f"epoch {s.record['epoch'] + 1} of {run.epochs} is saved; go on with: {again}"
    return f"left and saved {images} pictures into epoch {epoch + 1} of {run.epochs}; go on with: {again}"


def print_cost(run: argparse.Namespace) -> None:
    """Parameters and multiply-adds for one picture, without weights and without training."""
    spec = dataset_spec(run.dataset)
    known = spec.first_classes or "num_classes" in run.given
    num_classes = run.num_classes if known else load_split(run, "train").num_classes
    model = build_model(**model_config(run, num_classes=num_classes, in_chans=spec.in_chans)).eval()
    if run.pre_trained or run.backbone_weights or run.use_pre:
        model.freeze(run.freeze_layers)
    body = {f"backbone.{name}" for name in body_parameters(model.backbone)}
    image = torch.zeros(1, spec.in_chans, *run.img_size)
    say(cost_table(model, body, partial(grid_features, model.backbone), image))


if __name__ == "__main__":
    finish(run_script(main, "train.py", (ModelError, DataError, TrainingError)))

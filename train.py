"""Train SCOUTER, or the plain classifier that it is compared with."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals, hold_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("train.py")  # before anything else is imported

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import args as flags

if __name__ == "__main__":
    flags.parse_args()  # before the heavy imports: --help and flag errors are immediate

import torch

from dataset import DataError
from dataset.balance import class_counts
from dataset.cache import cache_pictures, free_shared_memory
from dataset.check import warn_of_shared
from dataset.known_files import KnownFiles
from dataset.loaders import build_loader, usable_workers
from dataset.pictures import PictureDataset
from dataset.registry import build_dataset, dataset_spec, least_similar_classes
from dataset.transforms import batch_mixing
from engine import TrainingError
from engine.best import Best, class_means
from engine.cost import cost_of
from engine.evaluate import evaluate
from engine.followed import draw_followed
from engine.initial_model import build_initial
from engine.known_pictures import known_pictures
from engine.opening import announce, announce_start, check_same_pictures, fingerprint_of_all
from engine.plain_classifier import fold_folder, load_plain
from engine.run_files import RunFiles, check_run_files, how_to_continue
from engine.session import Session, TrainingOptions, check_same_model
from engine.slot_init import set_class_means
from engine.train import REMEDY, EpochStopped, train_one_epoch
from sloter import ModelError
from sloter.backbone import FeatureModel, check_name
from sloter.config import start_options
from sloter.loss import ScouterLoss, balanced_weights
from sloter.model_names import architecture
from sloter.slot_model import SlotModel, build_model
from sloter.weights import InitialWeights, continued_weights, initial_weights
from tools import ToolError, checkpoint, distributed, run_folder, sweep
from tools.console import run_script, say, start_script
from tools.cores import divide_cores
from tools.distributed.preemption import Interrupted, StopRequest
from tools.ending import finish
from tools.folder_lock import Lock, held
from tools.machine import amp_dtype, compiles, memory_format
from tools.memory_limits import free_memory
from tools.provenance import data_text
from tools.run_log import epoch_line
from tools.tensorboard import check_tensorboard

logger = logging.getLogger("train")


def main() -> None:
    """Train the run, or all runs of the sweep, that the flags describe."""
    args = flags.parse_args()
    device = start_script("train.py", **flags.machine_config(args))
    if not args.thop:
        args.threads, args.num_workers = divide_cores(args.num_workers, device)
    stop = StopRequest(device)
    if args.tensorboard and args.output_dir:
        check_tensorboard()
    runs = flags.expand_runs(args)
    if len(runs) > 1 and (args.thop or args.resume not in (None, "auto")):
        raise ToolError("--thop and --resume FILE are for a single run, not for a sweep")
    if args.thop:
        print_cost(runs[0])
        return
    if len(runs) == 1:
        train(runs[0], stop)
        return

    def train_in(number: int, folder: str) -> dict[str, Any]:
        run = runs[number]
        run.pre_dir, run.output_dir, run.resume = run.pre_dir or args.output_dir, folder, "auto" if folder else None
        return train(run, stop)

    entries = [sweep.SweepRun(run.swept, run.repeat, flags.plain_settings(run)) for run in runs]
    sweep.run_all(args.output_dir, entries, train_in, failures=(TrainingError,), stop=stop)


def train(run: argparse.Namespace, stop: StopRequest) -> dict[str, Any]:
    """Train one run to its last checkpoint; returns the record of its last epoch, with the origin of the data."""
    with held(run.output_dir, checkpoint.run_name(**flags.name_config(run))) as lock:
        return train_locked(run, stop, lock)


def train_locked(run: argparse.Namespace, stop: StopRequest, lock: Lock | None) -> dict[str, Any]:
    """Train one run while this process holds its lock."""
    session, files = prepare(run, stop.device), None
    if run.output_dir and distributed.is_main():
        files = RunFiles(
            run.output_dir, session.name, first_epoch=session.start, record=session.record, tensorboard=run.tensorboard,
            data=data_text(session.val_loader.dataset.origin), lock=lock,
        )  # fmt: skip
    try:
        with stop:
            train_epochs(run, session, stop, files)
            distributed.barrier()  # a signal to a process that has left would end the one that saves
    except KeyboardInterrupt as error:
        error.args = (how_to_continue(run.output_dir, session.record, run.epochs),)
        raise
    finally:
        if files:
            files.close()
    if files and session.start < run.epochs:
        say(f"saved: {files.checkpoint}, and beside it log.jsonl and curves.png")
        if run.patience or session.best.metric != "top1":
            say(f"{session.best}: {checkpoint.checkpoint_path(run.output_dir, session.name, '_best')}")
    record = {**session.record, **session.val_loader.dataset.origin}
    if run.swept or run.repeat is not None:
        splits = (session.train_loader.dataset, session.val_loader.dataset)
        record["all_pictures"] = fingerprint_of_all(*splits)
    return record


def train_epochs(run: argparse.Namespace, session: Session, stop: StopRequest, files: RunFiles | None) -> None:
    """Train the remaining epochs, and save after each.

    Raises:
        Interrupted: a signal arrived; everything up to it is saved.
    """
    for epoch in range(session.start, run.epochs):
        if session.best.exhausted(epoch):
            say(f"stopped early by --patience {run.patience}: {session.best}")
            return
        record = train_epoch(run, session, epoch, stop, files)
        best = session.best.add(record)
        with hold_stop_signals():  # so that the message about an interrupted run says what is saved
            if files:
                files.add_epoch(session.state_dict(epoch, record), best=best, lr_drop=run.lr_drop)
            session.record, session.best_top1 = record, max(session.best_top1, record["val_top1"])
        if files and files.events:
            files.events.add(record, draw_followed(session))
        if epoch + 1 < run.epochs and stop():
            raise Interrupted(f"{stop.signal}: {how_to_continue(run.output_dir, record, run.epochs)}")


def train_epoch(
    run: argparse.Namespace, session: Session, epoch: int, stop: StopRequest, files: RunFiles | None
) -> dict[str, Any]:  # fmt: skip
    """Train and evaluate one epoch; returns its record.

    Raises:
        Interrupted: a signal arrived; the finished part of the epoch is saved.
    """
    before = session.begin_epoch(epoch)
    try:
        metrics = train_one_epoch(
            session.wrapped, session.train_loader, session.criterion, session.optim_step, epoch=epoch,
            epochs=run.epochs, device=session.device, stop=stop, before=before,
        )  # fmt: skip
    except EpochStopped as stopped:
        progress = session.stop(epoch, stopped)
        if files:
            files.add_stopped(session.state_dict(epoch - 1, session.record, progress))
        remedy = how_to_continue(run.output_dir, session.record, run.epochs, epoch=epoch, images=stopped.images)
        raise Interrupted(f"{stop.signal}: {remedy}") from None
    distributed.share_buffers(session.evaluated)
    found = session.best.collector()
    val = evaluate(
        session.evaluator, session.val_loader, session.criterion, device=session.device, negative=session.is_negative,
        explained=session.explained, amp=session.amp, remedy=REMEDY, collect=found.add if found else None,
    )  # fmt: skip
    val |= class_means(found)
    record = {"epoch": epoch, **metrics, **{f"val_{k}": v for k, v in val.items() if k != "images"}}
    say(epoch_line(record, run.epochs, top5=len(session.class_names) > 5))
    return record


def prepare(run: argparse.Namespace, device: torch.device) -> Session:
    """Build everything that a run needs for its first step, with the state of a resumed run."""
    name = checkpoint.run_name(**flags.name_config(run))
    if run.output_dir and distributed.is_main():
        check_run_files(run.output_dir, name)
    check_name(run.model)  # before the data, which may take long
    amp = amp_dtype(run.amp, device)
    state = run_folder.find(run.output_dir, name, run.resume)
    vars(run).update(flags.validation_config(run, state))
    known = known_pictures(run.dataset_dir) if distributed.is_main() else None
    train_set, val_set = (load_split(run, split, state, known) for split in ("train", "val"))
    check_same_pictures(train_set, val_set)
    if distributed.is_main():
        warn_of_shared(train_set.listing, val_set.listing, known=known)
    config, start, model = prepare_model(run, train_set, state, device, held_out=val_set.listing.held_out)
    loader = make_loaders(run, train_set, val_set, start.statistics, device)
    data = {"dataset": run.dataset, "class_names": train_set.class_names, "wnids": train_set.listing.wnids,
            **flags.validation_config(run)}  # fmt: skip
    held_out = list(val_set.listing.held_out)
    if data["cross_validation"]:
        data["cross_validation"] = {**data["cross_validation"], "held_out": held_out}
    data["held_out"] = held_out if val_set.listing.drawn_from else None
    configs = {"model_config": config, "data_config": data | start.statistics, "initial_weights": start.source,
               "run_id": run_folder.run_id(state)}  # fmt: skip
    announce(
        name, model, train_set, val_set, device=device, configs=configs, resumed=state is not None,
        weighted=run.class_weights == "balanced",
    )  # fmt: skip
    negative = run.use_slot and run.loss_status < 0
    lsc = least_similar_classes(val_set, run.lsc) if negative else None
    if isinstance(model, SlotModel) and run.slot_init == "means" and not state:
        plain = loader(dataset=train_set.plain(), train=False)
        set_class_means(model, plain, num_classes=train_set.num_classes, amp=amp)
    mixing = batch_mixing(run.aug_policy or (), train_set.num_classes)
    session = Session(
        name, model, configs=configs | {"train_config": flags.plain_settings(run)},
        train_loader=loader(dataset=train_set, train=True, mixing=mixing),
        val_loader=loader(dataset=val_set, train=False), criterion=make_criterion(run, train_set).to(device),
        options=TrainingOptions(**flags.training_options(run) | {"compile": compiles(run.compile, device)}),
        device=device, amp=amp,
        explained=None if lsc is None else torch.tensor(lsc, device=device),
        best=Best(**flags.best_config(run, state)), state=state,
    )  # fmt: skip
    announce_start(session, batch_size=run.batch_size, resumed=state["train_config"] if state else None)
    return session


def load_split(
    run: argparse.Namespace, split: str, state: dict[str, Any] | None = None, known: KnownFiles | None = None
) -> PictureDataset:  # fmt: skip
    """The pictures of a split, with the classes of a resumed run in its order.

    One process downloads or checks the pictures before the others read them, and ``known``, what it has found.
    """
    config = flags.data_config(run, first_classes=dataset_spec(run.dataset).first_classes)
    stored = state["data_config"] if state else {}
    count = len(stored.get("class_names") or ())
    if count and config["num_classes"] in (None, count):  # check_same_model refuses another number
        config |= {name: stored.get(name) for name in ("class_names", "wnids")}
    with distributed.main_first():
        return build_dataset(
            run.dataset, split, augment=run.aug, policies=run.aug_policy or (),
            known=known or known_pictures(run.dataset_dir), **config,
        )  # fmt: skip


def make_loaders(
    run: argparse.Namespace, train_set: PictureDataset, val_set: PictureDataset, statistics: dict[str, Any],
    device: torch.device,
) -> Any:  # fmt: skip
    """Cache the pictures if requested; returns ``build_loader`` with all keywords but those of a split."""
    if run.cache == "ram":
        workers, copies = usable_workers(run.num_workers), distributed.local_world_size()
        # All processes ask before one of them takes memory, so that they decide alike.
        states = distributed.gather([(free_memory(), free_shared_memory())])
        free, shared = min(own for own, _ in states), min((own for _, own in states if own is not None), default=None)
        cache_pictures([train_set, val_set], workers=workers, free=free, shared=shared, copies=copies)
    return partial(
        build_loader, batch_size=run.batch_size, device=device, num_workers=run.num_workers, seed=run.seed,
        rank=distributed.rank(), world_size=distributed.world_size(), memory_format=memory_format(run.channels_last),
        gather=distributed.gather, **statistics,
    )  # fmt: skip


def prepare_model(
    run: argparse.Namespace, train_set: PictureDataset, state: dict[str, Any] | None, device: torch.device, *,
    held_out: Sequence[str],
) -> tuple[dict[str, Any], InitialWeights, FeatureModel]:  # fmt: skip
    """The configuration of the model, its initial weights with the statistics of its pictures, and the model."""
    config = flags.model_config(run, num_classes=train_set.num_classes, in_chans=train_set.in_chans)
    start = continued_weights(run.model, state) if state else choose_weights(run, train_set, held_out)
    config |= {"stem": start.stem, "backbone": start.backbone}
    if state:
        check_same_model(config, state["model_config"])
        config |= start_options(state["model_config"]) if run.use_slot else {}
    has_weights = bool(run.use_pre or run.backbone_weights or run.pre_trained)
    if not has_weights and "freeze_layers" in run.given and run.freeze_layers:
        logger.warning("--freeze_layers %d: nothing is frozen, the backbone has no initial weights", run.freeze_layers)
    model = build_initial(
        config, start, freeze_stages=run.freeze_layers if has_weights else 0, seed=run.seed, device=device,
        memory_format=memory_format(run.channels_last), grad_checkpointing=run.grad_checkpointing, sync_bn=run.sync_bn,
    )  # fmt: skip
    f = model.feature_shape(train_set.in_chans, run.img_size)[0]
    if "channel" in run.given and run.channel != f:
        logger.warning("--channel %d: ignored, the feature map of this backbone has %d channels", run.channel, f)
    spec = dataset_spec(run.dataset)
    statistics = {"mean": spec.mean, "std": spec.std} | start.statistics
    if state:
        statistics = {key: state["data_config"][key] for key in statistics}
    return config, replace(start, statistics=statistics), model


def choose_weights(run: argparse.Namespace, train_set: PictureDataset, held_out: Sequence[str]) -> InitialWeights:
    """Initial weights of the backbone: of a plain classifier, of a file, or of timm."""
    plain, file = None, None
    if run.use_pre:
        names = (run.model, architecture(run.model, pretrained=True))
        folder = fold_folder(run.pre_dir or run.output_dir, run.fold)
        plain = load_plain(
            folder, run.dataset, backbones=names, swept=run.swept, class_names=train_set.class_names,
            fold=(run.fold, run.folds), held_out=held_out,
        )  # fmt: skip
    elif run.backbone_weights:
        file = (run.backbone_weights, checkpoint.read_state_dict(run.backbone_weights))
    return initial_weights(
        run.model, in_chans=train_set.in_chans, pretrained=run.pre_trained, file=file, classifier=plain
    )


def make_criterion(run: argparse.Namespace, train_set: PictureDataset) -> ScouterLoss:
    """The loss of the run."""
    weights = balanced_weights(class_counts(train_set)) if run.class_weights == "balanced" else None
    return ScouterLoss(class_weights=weights, **flags.loss_options(run))


def print_cost(run: argparse.Namespace) -> None:
    """Print parameters and multiply-adds for one picture, without loading weights or training."""
    spec = dataset_spec(run.dataset)
    known = spec.first_classes or "num_classes" in run.given
    num_classes = run.num_classes if known else load_split(run, "train").num_classes
    config = flags.model_config(run, num_classes=num_classes, in_chans=spec.in_chans)
    downloaded = run.pre_trained and not (run.use_pre or run.backbone_weights)
    model = build_model(**config | {"backbone": architecture(run.model, pretrained=downloaded)}).eval()
    if run.pre_trained or run.backbone_weights or run.use_pre:
        model.freeze(run.freeze_layers)
    say(cost_of(model, torch.zeros(1, spec.in_chans, *run.img_size)), several=True)


if __name__ == "__main__":
    finish(run_script(main, "train.py", (ModelError, DataError, TrainingError)))

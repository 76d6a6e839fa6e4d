"""Every flag of the scripts, two lines each, and what becomes of it.

This file and the scripts alone know the Namespace; everything else takes plain keyword arguments, which
:func:`data_config`, :func:`model_config` and the other functions below make of it. An option of the slot head, of an
explanation metric or of an attribution method is a field of its configuration, from which its flag is derived. Nothing
heavy is imported, so that ``--help`` and a wrong flag are answered at once.
"""

import argparse
import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.explain.attribution.settings import METHOD_NAMES, MethodSettings
from engine.explain.settings import MetricSettings
from sloter.config import SlotConfig, differences, options_of
from tools import ToolError
from tools.flags import (
    Formatter,
    Parser,
    Renamed,
    boolean,
    comma_list,
    number,
    numbers,
    of_field,
    one_of,
    real,
    resume,
    size,
    switch,
    whole,
)

AUG_POLICIES = ("trivial", "erasing", "mixup", "cutmix")
SWEPT = ("num_classes", "lambda_value", "power", "slots_per_class")
# Flags of the model that are no options of the slot head, and their keys in a checkpoint.
ARCHITECTURE = {"model": "backbone", "num_classes": "num_classes", "use_slot": "use_slot", "out_stage": "out_stage"}
# Old name of a flag: the new one, and the old text to the new value.
RENAMED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "worth": ("value_weighting", one_of("mean", "equal")),
    "floor": ("reference", lambda text: "min" if boolean(text) else "none"),
    "tau": ("logit_scale", number(float, above=0)),
}
DESCRIPTIONS = {
    "train": "Train SCOUTER or, with --use_slot false, the plain classifier that it is compared with.",
    "test": "Evaluate a trained model and, with --vis true, draw the evidence behind its decisions.",
    "torchcam_vis": "Draw and measure the maps of attribution methods for a plain classifier.",
}


def build_parser(script: str, *, prog: str = "", description: str = "") -> Parser:
    """The parser of a script; all scripts know all flags, since the published lines give them to all three."""
    parser = Parser(
        prog=prog or f"{script}.py", description=description or DESCRIPTIONS[script], fromfile_prefix_chars="@",
        allow_abbrev=False, formatter_class=Formatter,
        epilog="Flags can also stand in a file, several per line, with # comments: @recipes/quickstart.txt",
    )  # fmt: skip
    _data_flags(parser.add_argument_group("data"))
    _model_flags(parser.add_argument_group("model"))
    _slot_flags(parser.add_argument_group("slot head"))
    _optimisation_flags(parser.add_argument_group("training (train.py)"))
    _loss_flags(parser.add_argument_group("loss and repeats (train.py)"))
    _file_flags(parser.add_argument_group("files"))
    _explanation_flags(parser.add_argument_group("explanations and measurements"))
    _method_flags(parser.add_argument_group("attribution methods (torchcam_vis.py)"))
    _machine_flags(parser.add_argument_group("machine"))
    for old, (new, convert) in RENAMED.items():
        parser.add_argument(f"--{old}", action=Renamed, new=new, convert=convert)
    return parser


# fmt: off
def _data_flags(group: Any) -> None:
    add = group.add_argument
    add("--dataset", default="MNIST", metavar="NAME",
        help="MNIST5k (ships with the project), MNIST, FashionMNIST, KMNIST, ImageNet, ConText, CUB200 or Folder (a "
             "folder per class, in train/ and val/ or test/, or not split yet)")
    add("--dataset_dir", metavar="DIR",
        help="folder of the data; MNIST, FashionMNIST and KMNIST: ./data/mnist if not given, downloaded if missing; "
             "MNIST5k needs none; the others need it")
    add("--num_classes", type=comma_list(number(int, low=1)), default="10", metavar="N[,N...]",
        help="number of classes: the first N of the dataset; ConText and Folder always use all their classes, and a "
             "larger N adds unused outputs; a comma list trains one run for each value")
    add("--img_size", type=size, default="260", metavar="PIXELS",
        help="resize pictures to this size, 260 or 192x256 (height x width); the aspect ratio is not kept")
    add("--val_ratio", **real(0.2, above=0, below=1),
        help="share of each class used for validation, for a Folder that is not split")
    add("--bad_images", choices=("error", "skip"), default="error",
        help="pictures that cannot be read: error stops and names them, skip leaves them out and counts them")
    add("--aug", **switch(False),
        help="augment training pictures as in the paper: flips, affine transform, blur, each with probability 0.5")
    add("--aug_policy", type=comma_list(one_of(*AUG_POLICIES)), metavar="NAME[,NAME...]",
        help="stronger augmentation, with or without --aug: trivial (TrivialAugment), erasing (random erasing), mixup, "
             "cutmix; the training accuracy counts a mixed picture as the class with the largest share")
    add("--cache", choices=("none", "ram"), default="none",
        help="ram keeps the resized pictures in memory after the first epoch, if they fit into half of the free memory")
    add("--num_workers", **whole(4, low=0),
        help="processes that load pictures; at most one per core is started")


def _model_flags(group: Any) -> None:
    add = group.add_argument
    add("--model", default="resnet18", metavar="NAME",
        help="backbone: the name of any timm model that gives a feature map")
    add("--pre_trained", **switch(True),
        help="initialise the backbone with timm's pretrained weights, downloaded once")
    add("--backbone_weights", metavar="FILE",
        help="initialise the backbone from this .safetensors or .pth file instead")
    add("--use_pre", **switch(False),
        help="initialise the backbone from <dataset>_no_slot_checkpoint.pth in --pre_dir; only train.py reads it")
    add("--freeze_layers", **whole(2, low=0),
        help="freeze the stem and the first N of 4 stages (strides 4, 8, 16, 32), only with initial weights; 0: none")
    add("--out_stage", **whole(None, low=1),
        help="end the backbone after stage N of 4, for a finer grid; if not given, the whole backbone is used")
    add("--channel", **whole(512, low=1),
        help="channels of the feature map; they follow from the backbone, a given value is only compared with it (the "
             "published code needed it)")
    add("--use_slot", **switch(True),
        help="true: SCOUTER; false: the plain classifier, FC in the paper")


def _slot_flags(group: Any) -> None:
    _add_options(group, SlotConfig)


def _optimisation_flags(group: Any) -> None:
    add = group.add_argument
    add("--lr", **real(1e-4, metavar="LR", above=0),
        help="learning rate of AdamW")
    add("--sched", choices=("step", "cosine"), default="step",
        help="learning-rate schedule: step, a tenth every --lr_drop epochs, or cosine, down to 0 over --epochs")
    add("--lr_drop", **whole(70, metavar="EPOCHS", low=1),
        help="epochs between two drops of the step schedule; each drop also saves a numbered checkpoint")
    add("--warmup_epochs", **real(0.0, metavar="EPOCHS", low=0),
        help="raise the learning rate linearly from 0 over the first epochs")
    add("--batch_size", **whole(64, low=1),
        help="pictures per step and process; an incomplete last batch of an epoch is dropped")
    add("--weight_decay", **real(0.01, low=0),
        help="weight decay of AdamW; the published code parsed 1e-4 but trained with 0.01, the default here")
    add("--accum_steps", **whole(1, low=1),
        help="batches whose gradients are accumulated into one step, as if --batch_size were N times as large, except "
             "for batch norm and the attention penalty, which see one batch at a time")
    add("--ema", **real(None, metavar="DECAY", above=0, below=1),
        help="keep an exponential moving average (EMA) of the weights with this decay, such as 0.999, and evaluate and "
             "save it as the model; if not given, there is none")
    add("--grad_checkpointing", **switch(False),
        help="recompute the backbone's activations in the backward pass: less memory, more time; batch norm counts "
             "each batch twice in its running statistics")
    add("--clip_grad", **real(None, metavar="NORM", above=0),
        help="clip the norm of the gradient at this value; if not given, nothing is clipped")
    add("--epochs", **whole(10, low=1),
        help="passes over the training pictures")
    add("--start_epoch", **whole(0, low=0),
        help="number of the first epoch; --resume sets it")


def _loss_flags(group: Any) -> None:
    add = group.add_argument
    add("--lambda_value", type=comma_list(number(float, low=0)), default="1.", metavar="X[,X...]",
        help="weight of the attention penalty in the loss; larger values make explanations smaller; a comma list "
             "trains one run for each value")
    add("--power", type=comma_list(number(float, above=0)), default="2", metavar="X[,X...]",
        help="exponent of the mean attention in the penalty; a comma list trains one run for each value")
    add("--class_weights", choices=("none", "balanced"), default="none",
        help="weight of each class in the cross entropy: none, or balanced (inverse to its number of pictures)")
    add("--label_smoothing", **real(0.0, low=0, high=1),
        help="label smoothing of the training loss: this share of each label is spread over all classes")
    add("--temperature", **real(1.0, above=0),
        help="the training loss divides the logits by this; 2 makes up for the lower confidence of label smoothing")
    add("--seed", **whole(0, low=0),
        help="seed of weights, order and augmentation; repeats add their number")
    add("--iterated_evaluation_num", **whole(1, low=1),
        help="repeat each run with this many seeds; a table gives mean and standard deviation")


def _file_flags(group: Any) -> None:
    add = group.add_argument
    add("--output_dir", default="saved_model/", metavar="DIR",
        help="folder for checkpoints, log.jsonl and curves.png; empty: save nothing")
    add("--pre_dir", metavar="DIR",
        help="folder in which --use_pre looks; --output_dir if not given")
    add("--resume", type=resume, default=None, metavar="FILE|auto",
        help="continue a run from a checkpoint; auto: from that in --output_dir, if there is one")
    add("--tensorboard", **switch(False),
        help="also write the metrics and the maps of a few fixed pictures of each epoch to <output_dir>/tensorboard")
    add("--checkpoint", metavar="FILE",
        help="model for test.py and torchcam_vis.py, which brings its own model flags; if not given, the file that "
             "train.py writes with the same flags")


def _explanation_flags(group: Any) -> None:
    add = group.add_argument
    add("--vis", **switch(False),
        help="test.py, torchcam_vis.py: draw explanations; train.py accepts and ignores it")
    add("--vis_id", type=numbers, default="0", metavar="N[,N|-N...]",
        help="pictures of the validation split to explain, such as 0,4,10-19")
    add("--image", nargs="+", metavar="FILE",
        help="explain these pictures or folders of pictures instead; test.py then evaluates nothing")
    add("--classes", type=comma_list(str), metavar="NAME[,NAME...]",
        help="explain only these classes, by name or number")
    add("--vis_dir", metavar="DIR",
        help="folder for the drawn explanations; <folder of the checkpoint>/vis/<run> if not given")
    add("--grad", **switch(False),
        help="accepted and without effect: in the published code it kept the classifier for gradient methods, which a "
             "plain model always does here")
    add("--map", choices=("attention", "evidence"), default="attention",
        help="map of a slot model that --explain_metrics measures and torchcam_vis.py draws beside other methods")
    add("--explain_metrics", **switch(False),
        help="test.py, torchcam_vis.py: measure the maps: area, precision, insertion, deletion, infidelity, "
             "sensitivity")
    add("--metric_images", **whole(None, low=1),
        help="measure the maps of a fixed random sample of N pictures; the whole split if not given")
    add("--lsc", metavar="FILE",
        help="least similar class of each class, which a negative model explains: lines of class, comma, class; if not "
             "given it follows from WordNet or, where classes are no synsets, from the backbone's features")
    _add_options(group, MetricSettings)
    add("--sensitivity_of_all", **switch(False),
        help="measure sensitivity of SSCAM and ISCAM too, which takes long")
    add("--report", metavar="FILE",
        help="test.py: write one HTML file with accuracy, curves, explanation metrics and the maps of 60 pictures, or "
             "of those of --vis_id")
    add("--grad_min_level", **real(0.0, low=0, high=1),
        help="raise the scaled maps of attribution methods to at least this, 0 to 1; slot maps are not changed")
    add("--cal_area_size", **switch(False),
        help="put lambda and slots per class into the checkpoint's name; the area itself is always measured")
    add("--thop", **switch(False),
        help="print parameters and multiply-adds of the model for one picture, and stop")


def _method_flags(group: Any) -> None:
    add = group.add_argument
    add("--methods", type=comma_list(one_of(*METHOD_NAMES)), metavar="NAME[,NAME...]",
        help=f"only these attribution methods, of {', '.join(METHOD_NAMES)}")
    add("--cam_layer", metavar="NAME",
        help="layer of the backbone whose output is explained; the last feature map if not given")
    _add_options(group, MethodSettings)


def _machine_flags(group: Any) -> None:
    add = group.add_argument
    add("--device", metavar="NAME",
        help="cuda, cuda:1, mps or cpu; if not given, the best one available (the published default, cuda, is an error "
             "on a machine without a GPU)")
    add("--channels_last", **switch(False),
        help="store feature maps channels-last: same results, faster with many backbones, above all depthwise "
             "convolutions on a CPU")
    add("--amp", choices=("off", "auto", "bf16", "fp16"), default="off",
        help="mixed precision of the forward pass; the slots stay in single precision; auto: bf16 where the hardware "
             "multiplies it")
    add("--compile", **switch(False),
        help="compile the model with torch.compile: a minute or more at the start, faster steps afterwards")
    add("--tf32", **switch(False),
        help="let GPUs round the factors of matrix products to TensorFloat-32, as PyTorch does in convolutions anyway")
    add("--deterministic", **switch(False),
        help="the same flags give the same bits on the same machine; an operation that cannot promise it is an error")
    add("--world_size", **whole(1, low=1),
        help="number of processes; the launcher decides, and another value here is reported")
    add("--sync_bn", **switch(False),
        help="batch norm takes its statistics over the batches of all processes (GPUs only)")
    add("--local_rank", "--local-rank", type=int, default=None, metavar="N",
        help="set by old launchers; the environment decides")
    add("--dist_url", default="env://", metavar="URL",
        help="address at which the processes meet; env:// takes it from the launcher")
# fmt: on


def _add_options(group: Any, config: Any) -> None:
    """A flag for each option of a configuration; a swept one takes a comma list."""
    for field in options_of(config):
        name, keywords = field.metadata["flag"] or field.name, of_field(field)
        if name in SWEPT:
            lists = {"default": str(field.default), "metavar": "N[,N...]"}
            text = f"{keywords['help']}; a comma list trains one run for each value"
            keywords |= {"type": comma_list(keywords["type"]), "help": text, **lists}
        group.add_argument(f"--{name}", **keywords)


def parse_args(
    argv: Sequence[str] | None = None, script: str = "train", *, parser: Callable[[], Parser] | None = None
) -> argparse.Namespace:
    """The checked flags of a script.

    Besides the flags the Namespace has ``given``, the names of those that were on the command line, and ``hints``, a
    line for each flag under an old name. The swept flags (:data:`SWEPT`) are tuples until :func:`expand_runs`.

    Args:
        argv: the command line; None for that of this process.
        script: its name.
        parser: makes another parser than that of the script.

    Exits with one line and code 2 on a flag that is wrong.
    """
    if "RANK" in os.environ or "SLURM_PROCID" in os.environ:
        # Each process of a launch would report a lost connection with a stack of C++ frames, beside our line; torch
        # reads this when it is imported, which is later.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    build = parser or (lambda: build_parser(script))
    reader, silent = build(), build()
    args = reader.read(argv)
    for action in silent._actions:
        action.default = argparse.SUPPRESS
    args.given, args.hints = frozenset(vars(silent.read(argv))), tuple(dict.fromkeys(reader.hints))
    for name in SWEPT:
        values = getattr(args, name)
        if len(set(values)) < len(values):
            reader.error(f"argument --{name}: a value is given twice; repeats are --iterated_evaluation_num")
        if script != "train" and len(values) > 1:
            reader.error(f"argument --{name}: {reader.prog} takes one value, not a list")
    if args.checkpoint and script == "train":
        reader.error("argument --checkpoint: train.py continues a run with --resume FILE")
    return args


def expand_runs(args: argparse.Namespace) -> list[argparse.Namespace]:
    """One Namespace of single values for each combination of the comma lists and each repeat.

    A run has ``swept`` (the values that set it apart), ``repeat`` (its number, None if there is only one)
    and its own ``seed``.
    """
    runs = []
    for values in itertools.product(*(getattr(args, name) for name in SWEPT)):
        for repeat in range(args.iterated_evaluation_num):
            run = argparse.Namespace(**vars(args))
            for name, value in zip(SWEPT, values, strict=True):
                setattr(run, name, value)
            run.swept = {name: getattr(run, name) for name in SWEPT if len(getattr(args, name)) > 1}
            run.repeat = repeat if args.iterated_evaluation_num > 1 else None
            run.seed = args.seed + repeat
            runs.append(run)
    return runs


def plain_settings(run: argparse.Namespace) -> dict[str, Any]:
    """The flags of a run as plain types, for checkpoints and comparisons."""
    return {name: value for name, value in sorted(vars(run).items()) if name not in ("given", "hints")}


def name_config(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``run_name``: what the published code puts into the name of a checkpoint."""
    return {
        "dataset": run.dataset,
        "use_slot": run.use_slot,
        "loss_status": run.loss_status,
        "area_of": (run.lambda_value, run.slots_per_class) if run.cal_area_size else None,
    }


def machine_config(args: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``start_script``."""
    names = ("dist_url", "world_size", "device", "tf32", "deterministic", "hints")
    return {name: getattr(args, name) for name in names}


def training_options(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``TrainingOptions``."""
    names = ("epochs", "start_epoch", "seed", "lr", "weight_decay", "sched", "lr_drop", "warmup_epochs", "clip_grad",
             "accum_steps", "ema", "compile")  # fmt: skip
    return {name: getattr(run, name) for name in names}


def data_config(run: argparse.Namespace, *, first_classes: bool) -> dict[str, Any]:
    """Keywords of ``build_dataset`` except the split.

    Args:
        run: a run.
        first_classes: whether the dataset takes its first N classes; if not, N counts only if it was given.
    """
    return {
        "dataset_dir": run.dataset_dir,
        "num_classes": run.num_classes if first_classes or "num_classes" in run.given else None,
        "img_size": run.img_size,
        "val_ratio": run.val_ratio,
        "bad_images": run.bad_images,
    }


def model_config(run: argparse.Namespace, *, num_classes: int, in_chans: int) -> dict[str, Any]:
    """Keywords of ``build_model`` that describe the model; a checkpoint stores them."""
    config = {
        "backbone": run.model,
        "num_classes": num_classes,
        "use_slot": run.use_slot,
        "in_chans": in_chans,
        "img_size": run.img_size,
        "out_stage": run.out_stage,
    }
    return config | slot_options(run) if run.use_slot else config


def slot_options(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``SlotConfig``."""
    return _values(run, SlotConfig)


def method_settings(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``MethodSettings``."""
    return {"batch_size": run.batch_size, **_values(run, MethodSettings)}


def metric_settings(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``MetricSettings``."""
    return {"seed": run.seed, **_values(run, MetricSettings)}


def _values(run: argparse.Namespace, config: Any) -> dict[str, Any]:
    return {field.name: getattr(run, field.metadata["flag"] or field.name) for field in options_of(config)}


def completed(run: argparse.Namespace, state: Mapping[str, Any]) -> argparse.Namespace:
    """The flags of a script that reads a checkpoint: those not given are as the checkpoint has them.

    Args:
        run: a run.
        state: the checkpoint, of which ``model_config``, ``data_config`` and ``train_config`` count.
    """
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


def fitted(run: argparse.Namespace, state: Mapping[str, Any], source: Any) -> argparse.Namespace:
    """The flags of a script that opens a checkpoint: :func:`completed`, once they are known not to contradict it.

    Raises:
        ToolError: a flag of the model contradicts the checkpoint.
    """
    if wrong := contradiction(run, state["model_config"]):
        raise ToolError(f"{wrong} ({source}): leave the flag out, or give the checkpoint that it fits")
    return completed(run, state)


def contradiction(run: argparse.Namespace, config: Mapping[str, Any]) -> str | None:
    """The first flag on the command line that a stored model configuration contradicts, as a sentence."""
    for flag, key in ARCHITECTURE.items():
        if flag in run.given and key in config and getattr(run, flag) != config[key]:
            return f"--{flag} {getattr(run, flag)}, but the checkpoint has {config[key]}"
    if not config["use_slot"]:
        return None
    flags = {field.name: field.metadata["flag"] or field.name for field in dataclasses.fields(SlotConfig)}
    for name, wanted, stored in differences(slot_options(run), config, "forward"):
        if flags[name] in run.given:
            return f"--{flags[name]} {wanted}, but the checkpoint has {stored}"
    return None

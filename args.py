"""Every flag of the scripts: what it means, its checks, and what becomes of it.

This file and the scripts alone know the Namespace; everything else takes plain keyword arguments, which
:func:`data_config`, :func:`model_config` and their kin make of it. It imports nothing heavy, so that ``--help``
and a wrong flag are answered at once.
"""

import argparse
import difflib
import itertools
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

# Seconds in which the first of several processes, which all find the same flag wrong, says so before the others end.
ERROR_TIME = 5.0
MOST_PICTURES = 10_000  # that --vis_id may name at once
METHODS = ("CAM", "GradCAM", "GradCAMpp", "SmoothGradCAMpp", "XGradCAM", "LayerCAM", "ScoreCAM", "SSCAM", "ISCAM",
           "DeepLIFT", "IntegratedGradients", "Occlusion", "RISE", "Extremal", "IGOS", "IBA")  # fmt: skip
AUG_POLICIES = ("trivial", "erasing", "mixup", "cutmix")
BENCHMARKS = ("head", "data", "train", "infer", "explain", "scale")
SWEPT = ("num_classes", "lambda_value", "power", "slots_per_class")
# A flag that describes the model, and the name of its value in a checkpoint.
MODEL_FLAGS = {
    "model": "backbone",
    "num_classes": "num_classes",
    "use_slot": "use_slot",
    "out_stage": "out_stage",
    "hidden_dim": "hidden_dim",
    "slots_per_class": "slots_per_class",
    "iters": "iters",
    "to_k_layer": "to_k_layers",
    "attention": "attention",
    "worth": "worth",
    "position": "position",
    "salience": "salience",
    "floor": "floor",
    "loss_status": "loss_status",
}


# What the checkpoints of slot models do not say that are older than the choice.
FIRST_FORM = {"worth": "mean", "position": "sine", "dropout": 0.0, "salience": 0.0, "tau": 10.0, "floor": False}


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line and an argument file may have comments and several flags a line."""

    def error(self, message: str) -> NoReturn:
        if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))):
            time.sleep(ERROR_TIME)
            self.exit(2)
        if file := re.fullmatch(r"\[Errno \d+\] (.*): '(.*)'", message):
            self.exit(2, f"{self.prog}: error: the argument file {file[2]} cannot be read: {file[1]}\n")
        if unknown := re.match(r"unrecognized arguments: (--\w+)", message):
            near = difflib.get_close_matches(unknown[1], self._option_string_actions, n=1)
            message += f": did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        try:
            return shlex.split(arg_line, comments=True)
        except ValueError as error:
            self.error(f"the line '{arg_line}' of an argument file: {str(error).lower()}")


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but for flags that have none: their help says what happens without them."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def boolean(text: str) -> bool:
    """true/false/yes/no/1/0, in any case."""
    value = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false (true/false/yes/no/1/0)")
    return value


def number(kind: type, *, low: float, above: bool = False) -> Callable[[str], Any]:
    """An int or float from ``low`` on, or above it."""

    def parse(text: str) -> Any:
        what = "a whole number" if kind is int else "a number"
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not {what}") from None
        if not (value > low if above else value >= low) or value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not {what} {'above' if above else 'of at least'} {low:g}")
        return value

    return parse


def comma_list(item: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """``1,3,10``."""
    return lambda text: tuple(item(part.strip()) for part in text.split(","))


def one_of(*names: str) -> Callable[[str], str]:
    """One of some names, for lists of them."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(names)}")
        return text

    return parse


def size(text: str) -> tuple[int, int]:
    """``260`` or ``192x256`` (height x width)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match or "0" in (match[1], match[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size in pixels (260, or 192x256 for height x width)")
    return int(match[1]), int(match[2] or match[1])


def numbers(text: str) -> tuple[int, ...]:
    """``0``, ``0,4,7`` or ``0-9`` and mixtures."""
    chosen: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers and ranges (0, or 0,4,7, or 0-9)")
        if int(match[2] or match[1]) - int(match[1]) >= MOST_PICTURES:
            raise argparse.ArgumentTypeError(f"'{text}' are more than {MOST_PICTURES} pictures at once")
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(chosen)


def resume(text: str) -> str | None:
    """``auto`` (also true), a file, or false."""
    if text.lower() in ("false", "no", "0", ""):
        return None
    return "auto" if text.lower() in ("true", "yes", "1", "auto") else text


def build_parser(script: str) -> Parser:
    """The parser of a script; all know all flags, since the published lines give them to all three."""
    parser = Parser(
        prog="python -m tools.benchmark" if script == "benchmark" else f"{script}.py",
        description=DESCRIPTIONS[script],
        fromfile_prefix_chars="@",
        allow_abbrev=False,
        formatter_class=Formatter,
        epilog="Flags can stand in a file, some a line, with # comments: @recipes/quickstart.txt",
    )
    _data_flags(parser.add_argument_group("data"))
    _model_flags(parser.add_argument_group("model"))
    _training_flags(parser.add_argument_group("training (train.py)"))
    _file_flags(parser.add_argument_group("files"))
    _explanation_flags(parser.add_argument_group("explanations and measurements"))
    _method_flags(parser.add_argument_group("attribution methods (torchcam_vis.py)"))
    _machine_flags(parser.add_argument_group("machine"))
    if script == "benchmark":
        _benchmark_flags(parser)
    return parser


DESCRIPTIONS = {
    "train": "Train SCOUTER, or with --use_slot false the plain classifier it is compared with.",
    "test": "Evaluate a trained model, and with --vis true draw why it decided as it did.",
    "benchmark": "Measure how fast the parts are, beside what they are compared with, in one run.",
    "torchcam_vis": "Draw the maps of the usual attribution methods for a plain classifier.",
}


def _data_flags(group: Any) -> None:
    add = group.add_argument
    add(
        "--dataset",
        default="MNIST",
        metavar="NAME",
        help="MNIST5k (ships with the project), MNIST, FashionMNIST, KMNIST, ImageNet, ConText, CUB200 or Folder "
        "(class folders in train/ and val/ or test/, or class folders alone)",
    )
    add(
        "--dataset_dir",
        metavar="DIR",
        help="folder of the data; MNIST and its heirs without it: ./data/mnist, downloaded if missing; MNIST5k "
        "needs none; the others need it",
    )
    add(
        "--num_classes",
        type=comma_list(number(int, low=1)),
        default="10",
        metavar="N[,N...]",
        help="classes; ConText and Folder use all they find, so that it may only be more, and is found if not given; "
        "of the others the first N are taken; a comma list sweeps",
    )
    add(
        "--img_size",
        type=size,
        default="260",
        metavar="PIXELS",
        help="pictures are resized to this, 260 or 192x256 (height x width), without keeping their aspect",
    )
    add(
        "--val_ratio",
        type=number(float, low=0, above=True),
        default=0.2,
        metavar="X",
        help="share of each class that validates, for a Folder of class folders that are not split",
    )
    add(
        "--bad_images",
        choices=("error", "skip"),
        default="error",
        help="pictures that cannot be used: stop and name them, or leave them out and say so",
    )
    add(
        "--aug",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="augment training pictures as the paper does: flips, affine, blur, each with probability one half",
    )
    add(
        "--aug_policy",
        type=comma_list(one_of(*AUG_POLICIES)),
        metavar="NAME[,NAME...]",
        help="stronger augmentation of training pictures, with or without --aug: trivial (TrivialAugment), erasing "
        "(random erasing), mixup, cutmix; training accuracy then counts a mixed picture as what it has most of",
    )
    add(
        "--cache",
        choices=("none", "ram"),
        default="none",
        help="ram: keep resized pictures in memory after the first epoch, if they take at most half of what is free",
    )
    add(
        "--num_workers",
        type=number(int, low=0),
        default=4,
        metavar="N",
        help="processes that load pictures; at most one a core is started",
    )


def _model_flags(group: Any) -> None:
    add = group.add_argument
    add("--model", default="resnet18", metavar="NAME", help="backbone, any timm model that gives a feature map")
    add(
        "--pre_trained",
        type=boolean,
        default=True,
        metavar="BOOL",
        help="start the backbone from timm's pretrained weights (downloaded once)",
    )
    add("--backbone_weights", metavar="FILE", help="start the backbone from this .safetensors or .pth file instead")
    add(
        "--use_pre",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="start the backbone from <dataset>_no_slot_checkpoint.pth in --pre_dir; only training reads it",
    )
    add(
        "--freeze_layers",
        type=number(int, low=0),
        default=2,
        metavar="N",
        help="freeze the stem and the first N of 4 stages (strides 4, 8, 16, 32), only with "
        "pretrained weights; 0 freezes nothing",
    )
    add(
        "--out_stage",
        type=number(int, low=1),
        metavar="N",
        help="end the backbone after stage N of 4 for a finer grid; without it the whole backbone is used",
    )
    add(
        "--channel",
        type=number(int, low=1),
        default=512,
        metavar="N",
        help="channels of the backbone's feature map; found from the backbone, a given value is "
        "only compared with it (the published code needed it)",
    )
    add(
        "--use_slot",
        type=boolean,
        default=True,
        metavar="BOOL",
        help="SCOUTER; false: the plain classifier (FC in the paper)",
    )
    add(
        "--loss_status",
        type=int,
        choices=(1, -1),
        default=1,
        help="1: positive model, maps support their class; -1: negative, maps deny it",
    )
    add(
        "--attention",
        choices=("paper", "qknorm"),
        default="paper",
        help="how scores become attention: the published form, or the stable one, cosine with learned temperature and "
        "bias",
    )
    add(
        "--tau",
        type=number(float, low=0, above=True),
        default=10.0,
        metavar="X",
        help="where the learned temperature of qknorm starts; lower is softer",
    )
    add(
        "--salience",
        type=number(float, low=0),
        default=0.0,
        metavar="P",
        help="scale the attention of each place by the length of the backbone's features there, next to the picture's "
        "largest, to this power; 0 does not, as published",
    )
    add(
        "--floor",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="count a slot's attention to a place only above the least that any slot pays to it, so that maps show "
        "what sets their class apart; with one look the probabilities are the same, with more the slots' updates "
        "change",
    )
    add(
        "--slots_per_class",
        type=comma_list(number(int, low=1)),
        default="3",
        metavar="N[,N...]",
        help="slots of each class; a comma list sweeps",
    )
    add(
        "--hidden_dim",
        type=number(int, low=4),
        default=64,
        metavar="N",
        help="width of keys, values and slots, a multiple of 4",
    )
    add(
        "--worth",
        choices=("mean", "equal"),
        default="mean",
        help="what a place that is attended to adds to the score: the mean of its values, as published, or the same "
        "everywhere (one learned number), so that the attention map itself is the evidence",
    )
    add(
        "--position",
        choices=("sine", "none"),
        default="sine",
        help="add the position code to what keys are made of, as published, or do without",
    )
    add(
        "--dropout",
        type=number(float, low=0),
        default=0.0,
        metavar="X",
        help="share of the backbone's channels that the slots do without in each training step",
    )
    add(
        "--slot_init",
        choices=("random", "means"),
        default="random",
        help="slots start at random, as published, or, before the first epoch, at the mean key of their class",
    )
    add(
        "--to_k_layer",
        type=number(int, low=0),
        default=1,
        metavar="N",
        help="linear layers that make the keys; 0 takes their input as it is",
    )
    add("--iters", type=number(int, low=1), default=3, metavar="N", help="times the slots attend")


def _training_flags(group: Any) -> None:
    add = group.add_argument
    add("--lr", type=number(float, low=0, above=True), default=1e-4, help="learning rate of AdamW")
    add(
        "--sched",
        choices=("step", "cosine"),
        default="step",
        help="step: a tenth every --lr_drop epochs; cosine: to zero over --epochs",
    )
    add(
        "--lr_drop",
        type=number(int, low=1),
        default=70,
        metavar="EPOCHS",
        help="epochs between drops of the step schedule; each drop also saves a numbered checkpoint",
    )
    add(
        "--warmup_epochs",
        type=number(float, low=0),
        default=0.0,
        metavar="EPOCHS",
        help="raise the learning rate linearly over the first epochs",
    )
    add(
        "--batch_size",
        type=number(int, low=1),
        default=64,
        metavar="N",
        help="pictures a step and process; the last incomplete batch is dropped",
    )
    add(
        "--weight_decay",
        type=number(float, low=0),
        default=0.01,
        help="weight decay of AdamW; the published code parsed 1e-4 but trained with 0.01, the default here",
    )
    add(
        "--accum_steps",
        type=number(int, low=1),
        default=1,
        metavar="N",
        help="batches whose gradients make one step, as if --batch_size were N times as large, but for batch norm and "
        "the area term, which are those of each batch",
    )
    add(
        "--ema",
        type=number(float, low=0, above=True),
        metavar="DECAY",
        help="follow the weights with a running average of this decay, 0.999 for instance, which is then what is "
        "evaluated and saved as the model; without it there is none",
    )
    add(
        "--grad_checkpointing",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="keep less of the backbone's forward pass and compute it again in the backward pass: less memory, "
        "more time; batch norm counts each batch twice in its running statistics",
    )
    add(
        "--clip_grad",
        type=number(float, low=0, above=True),
        metavar="NORM",
        help="largest norm of the gradient; without it nothing is clipped",
    )
    add("--epochs", type=number(int, low=1), default=10, metavar="N", help="passes over the training pictures")
    add(
        "--start_epoch",
        type=number(int, low=0),
        default=0,
        metavar="N",
        help="number of the first epoch; --resume sets it",
    )
    add(
        "--lambda_value",
        type=comma_list(number(float, low=0)),
        default="1.",
        metavar="X[,X...]",
        help="price of attention in the loss; higher makes explanations smaller; a comma list sweeps",
    )
    add(
        "--power",
        type=comma_list(number(float, low=0, above=True)),
        default="2",
        metavar="X[,X...]",
        help="power of the mean attention in the loss; a comma list sweeps",
    )
    add(
        "--class_weights",
        choices=("none", "balanced"),
        default="none",
        help="weight of pictures in the loss: all alike, or inverse to the size of their class",
    )
    add(
        "--label_smoothing",
        type=number(float, low=0),
        default=0.0,
        metavar="X",
        help="share of each label that is spread over all classes in the training loss",
    )
    add(
        "--temperature",
        type=number(float, low=0, above=True),
        default=1.0,
        metavar="X",
        help="the training loss divides the logits by it; 2 makes up for what label smoothing holds back",
    )
    add(
        "--seed",
        type=number(int, low=0),
        default=0,
        metavar="N",
        help="of weights, order and augmentation; repeats add their number",
    )
    add(
        "--iterated_evaluation_num",
        type=number(int, low=1),
        default=1,
        metavar="N",
        help="repeat each run, with other seeds; the table gives mean and standard deviation",
    )


def _file_flags(group: Any) -> None:
    add = group.add_argument
    add(
        "--output_dir",
        default="saved_model/",
        metavar="DIR",
        help="where checkpoints, log.jsonl and curves.png go; empty: save nothing",
    )
    add("--pre_dir", metavar="DIR", help="where --use_pre looks; --output_dir if not given")
    add(
        "--resume",
        type=resume,
        default=None,
        metavar="FILE|auto",
        help="continue a run from a checkpoint; auto: from that of --output_dir, if there is one",
    )
    add(
        "--tensorboard",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="write figures and the maps of a few fixed pictures after each epoch to <output_dir>/tensorboard, too",
    )
    add(
        "--checkpoint",
        metavar="FILE",
        help="the model for test.py and torchcam_vis.py; it brings its own model flags; without it the name follows "
        "from the flags, as in the published code",
    )


def _explanation_flags(group: Any) -> None:
    add = group.add_argument
    add(
        "--vis",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="test.py, torchcam_vis.py: draw explanations; train.py accepts and ignores it",
    )
    add(
        "--vis_id",
        type=numbers,
        default="0",
        metavar="N[,N|-N...]",
        help="pictures of the validation split to explain, a list or a range",
    )
    add(
        "--image",
        nargs="+",
        metavar="FILE",
        help="explain these pictures instead, of any size and mode; test.py then evaluates nothing",
    )
    add(
        "--classes", type=comma_list(str), metavar="NAME[,NAME...]", help="explain only these classes, names or numbers"
    )
    add("--vis_dir", metavar="DIR", help="where pictures go; <folder of the checkpoint>/vis/<run> if not given")
    add(
        "--grad",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="the published code's switch to keep the classifier for gradient methods, "
        "which a plain model always does here, so that it changes nothing",
    )
    add(
        "--map",
        choices=("attention", "evidence"),
        default="attention",
        help="the map of a slot model that is scored, and that torchcam_vis.py draws beside other methods",
    )
    add(
        "--explain_metrics",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="test.py, torchcam_vis.py: score the maps: area, precision, insertion, deletion, infidelity, sensitivity",
    )
    add(
        "--metric_images",
        type=number(int, low=1),
        metavar="N",
        help="score a fixed random sample of so many pictures; all of the split if not given",
    )
    add(
        "--lsc",
        metavar="FILE",
        help="the class that a negative model explains for each true class, a line each: class, comma, class; without "
        "it WordNet says which is least similar, or, where classes are no synsets, the features do",
    )
    add(
        "--metric_steps",
        type=number(int, low=1),
        default=100,
        metavar="N",
        help="steps of insertion and deletion; 100 are one percent of the pixels each",
    )
    add(
        "--blur_sigma",
        type=number(float, low=0, above=True),
        default=5.0,
        metavar="PIXELS",
        help="blur of the picture that insertion starts from",
    )
    add(
        "--infidelity_samples",
        type=number(int, low=1),
        default=50,
        metavar="N",
        help="squares that infidelity removes",
    )
    add(
        "--infidelity_side",
        type=number(float, low=0, above=True),
        default=0.25,
        metavar="X",
        help="side of such a square, as a share of the shorter side of the picture",
    )
    add(
        "--sensitivity_samples",
        type=number(int, low=0),
        default=10,
        metavar="N",
        help="random changes of the picture that sensitivity tries; 0 leaves it out",
    )
    add(
        "--sensitivity_radius",
        type=number(float, low=0, above=True),
        default=0.02,
        metavar="X",
        help="of such a change, in units of the normalised picture",
    )
    add(
        "--sensitivity_of_all",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="measure sensitivity of SSCAM and ISCAM too, which takes long",
    )
    add(
        "--report",
        metavar="FILE",
        help="test.py: write one HTML file with accuracy, curves, scores and maps, of 60 pictures or those of --vis_id",
    )
    add(
        "--grad_min_level",
        type=number(float, low=0),
        default=0.0,
        metavar="X",
        help="floor of the scaled maps of attribution methods, 0 to 1; slot maps have none",
    )
    add(
        "--cal_area_size",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="put lambda and slots per class into the checkpoint's name; the area itself is always measured",
    )
    add(
        "--thop",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="print parameters and multiply-adds of the model for one picture, and stop",
    )


def _method_flags(group: Any) -> None:
    add = group.add_argument
    add(
        "--methods",
        type=comma_list(one_of(*METHODS)),
        metavar="NAME[,NAME...]",
        help="only these attribution methods, of " + ", ".join(METHODS),
    )
    add(
        "--cam_layer",
        metavar="NAME",
        help="the backbone's layer whose map is explained; the last feature map if not given",
    )
    # The sample counts of the slow methods; their other settings are their papers'.
    counts = {
        "smooth_samples": (4, "SmoothGradCAMpp: noisy copies of the picture"),
        "ss_samples": (4, "SSCAM: noisy masks for each channel; the paper: 35"),
        "is_samples": (4, "ISCAM: steps of the integral for each channel; the paper: 10"),
        "ig_steps": (50, "IntegratedGradients: steps of the integral; the paper: 20 to 300"),
        "rise_masks": (1000, "RISE: random masks; the paper: 4,000 to 8,000"),
        "extremal_steps": (100, "Extremal: gradient steps; the paper: 800"),
        "igos_steps": (10, "IGOS: descent steps; the authors: 15 to 20"),
        "igos_ig_steps": (10, "IGOS: points of the integrated gradient; the authors: 20"),
    }
    for name, (default, text) in counts.items():
        add(f"--{name}", type=number(int, low=1), default=default, metavar="N", help=text)


def _machine_flags(group: Any) -> None:
    add = group.add_argument
    add(
        "--device",
        metavar="NAME",
        help="cuda, cuda:1, mps or cpu; without it the best that is there (the published default, "
        "cuda, is an error on a machine without one)",
    )
    add(
        "--channels_last",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="keep feature maps channels-last in memory: the same results, and faster with many backbones, "
        "above all depthwise convolutions on a CPU",
    )
    add(
        "--amp",
        choices=("off", "auto", "bf16", "fp16"),
        default="off",
        help="precision of the forward pass, but for the slots, which stay in single precision: bfloat16, float16 (its "
        "loss scaled), or auto: bfloat16 where the hardware multiplies it",
    )
    add(
        "--compile",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="have torch.compile make kernels for the model: a minute or more at the start, faster steps afterwards",
    )
    add(
        "--tf32",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="let GPUs round the factors of matrix products to TensorFloat-32, as PyTorch lets convolutions do anyway",
    )
    add(
        "--deterministic",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="the same flags give the same bits, run after run on the same machine; an operation that cannot is an "
        "error",
    )
    add(
        "--world_size",
        type=number(int, low=1),
        default=1,
        metavar="N",
        help="number of processes; the launcher's environment decides, another value is told",
    )
    add(
        "--sync_bn",
        type=boolean,
        default=False,
        metavar="BOOL",
        help="batch norm takes its statistics over the batches of all processes (GPUs only)",
    )
    add(
        "--local_rank",
        "--local-rank",
        type=int,
        default=None,
        metavar="N",
        help="given by old launchers; the environment decides",
    )
    add("--dist_url", default="env://", metavar="URL", help="how the processes meet; env:// takes it from the launcher")


def _benchmark_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parts = f"of {', '.join(BENCHMARKS)}; all without any"
    add("parts", nargs="*", type=one_of(*BENCHMARKS), metavar="part", help=parts)
    add("--quick", type=boolean, default=False, metavar="BOOL", help="fewer pictures and rounds")
    add("--json", metavar="FILE", help="write the tables there, too")
    add("--trace", metavar="FILE", help="train, infer: write a torch.profiler trace of the last variant there, too")
    parser.set_defaults(dataset="MNIST5k", batch_size=8, slots_per_class="1", to_k_layer=3)


def parse_args(argv: Sequence[str] | None = None, script: str = "train") -> argparse.Namespace:
    """The checked flags of a script.

    Besides the flags the Namespace has ``given``, the names of those that were on the command line, and the
    swept flags (:data:`SWEPT`) are tuples until :func:`expand_runs` makes runs of them.

    Exits with one line and code 2 on a flag that is wrong.
    """
    if _is_launched():
        # A lost connection would be told with a stack of C++ frames by each process, beside our line; torch reads this
        # when it is loaded, which is later.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    parser = build_parser(script)
    try:
        args = parser.parse_args(argv)
    except UnicodeDecodeError:
        parser.error("an argument file is not text in UTF-8")
    silent = build_parser(script)
    for action in silent._actions:
        action.default = argparse.SUPPRESS
    args.given = frozenset(vars(silent.parse_args(argv)))
    if args.hidden_dim % 4:
        parser.error(f"argument --hidden_dim: {args.hidden_dim} is not a multiple of 4")
    for name in SWEPT:
        if len(set(getattr(args, name))) < len(getattr(args, name)):
            parser.error(f"argument --{name}: a value is given twice; repeats are --iterated_evaluation_num")
    if args.val_ratio >= 1:
        parser.error(f"argument --val_ratio: {args.val_ratio} leaves nothing to train on")
    if args.ema is not None and args.ema >= 1:
        parser.error(f"argument --ema: {args.ema:g} is not below 1")
    if args.dropout >= 1:
        parser.error(f"argument --dropout: {args.dropout:g} leaves nothing")
    if args.label_smoothing > 1:
        parser.error(f"argument --label_smoothing: {args.label_smoothing:g} is above 1")
    if args.infidelity_side > 1:
        parser.error(f"argument --infidelity_side: {args.infidelity_side} is above 1, the whole picture")
    if args.grad_min_level > 1:
        parser.error(f"argument --grad_min_level: {args.grad_min_level} is above 1")
    if script != "train":
        for name in SWEPT:
            if len(getattr(args, name)) > 1:
                parser.error(f"argument --{name}: {script}.py takes one value, not a list")
    if args.checkpoint and script == "train":
        parser.error("argument --checkpoint: train.py continues a run with --resume FILE")
    return args


def parse_compare_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags of ``python -m tools.compare``."""
    parser = Parser(
        prog="python -m tools.compare",
        description="Put the explanation scores of several runs into one table.",
        allow_abbrev=False,
    )
    parser.add_argument("tables", nargs="+", metavar="FOLDER", help="of a run with a metrics.json, or such a file")
    parser.add_argument("--output_dir", metavar="DIR", help="write metrics.json, metrics.csv and metrics.png there")
    return parser.parse_args(argv)


def expand_runs(args: argparse.Namespace) -> list[argparse.Namespace]:
    """One Namespace of single values for each combination of the comma lists and each repeat.

    A run has ``swept`` (the values that set it apart), ``repeat`` (its number, None if there is one only)
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
    return {name: value for name, value in sorted(vars(run).items()) if name != "given"}


def name_config(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``run_name``: what the published code puts into the name of a checkpoint."""
    return {
        "dataset": run.dataset,
        "use_slot": run.use_slot,
        "loss_status": run.loss_status,
        "area_of": (run.lambda_value, run.slots_per_class) if run.cal_area_size else None,
    }


def data_config(run: argparse.Namespace, *, first_classes: bool) -> dict[str, Any]:
    """Keywords of ``build_dataset`` but for the split.

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
    if run.use_slot:
        config |= {
            "hidden_dim": run.hidden_dim,
            "slots_per_class": run.slots_per_class,
            "iters": run.iters,
            "to_k_layers": run.to_k_layer,
            "attention": run.attention,
            "worth": run.worth,
            "position": run.position,
            "dropout": run.dropout,
            "salience": run.salience,
            "tau": run.tau,
            "floor": run.floor,
            "loss_status": run.loss_status,
        }
    return config


def completed(run: argparse.Namespace, state: dict[str, Any]) -> argparse.Namespace:
    """The flags of a script that reads a checkpoint: those that were not given as the checkpoint has them.

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


def method_settings(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of the attribution methods' ``Settings``."""
    names = ("batch_size", "smooth_samples", "ss_samples", "is_samples", "ig_steps", "rise_masks", "extremal_steps",
             "igos_steps", "igos_ig_steps")  # fmt: skip
    return {name: getattr(run, name) for name in names}


def score_settings(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``ScoreSettings``."""
    return {
        "steps": run.metric_steps,
        "blur_sigma": run.blur_sigma,
        "infidelity_samples": run.infidelity_samples,
        "infidelity_side": run.infidelity_side,
        "sensitivity_samples": run.sensitivity_samples,
        "sensitivity_radius": run.sensitivity_radius,
        "seed": run.seed,
    }


def contradiction(run: argparse.Namespace, config: dict[str, Any]) -> str | None:
    """The first flag on the command line that a stored model configuration contradicts, as a sentence."""
    config = {**(FIRST_FORM if config["use_slot"] else {}), **config}
    for flag, key in MODEL_FLAGS.items():
        if flag in run.given and key in config and getattr(run, flag) != config[key]:
            return f"--{flag} {getattr(run, flag)}, but the checkpoint has {config[key]}"
    return None


def command_line() -> str:
    """What was typed, for messages that say how to go on."""
    return shlex.join([*_launcher(), *sys.argv])


def _is_launched() -> bool:
    return "RANK" in os.environ or "SLURM_PROCID" in os.environ


def _launcher() -> list[str]:
    env = os.environ
    if "RANK" not in env or "LOCAL_WORLD_SIZE" not in env:
        return ["python"]
    if "TORCHELASTIC_RUN_ID" not in env and "SLURM_PROCID" in env:
        return ["srun", f"--ntasks={env['WORLD_SIZE']}", "python"]
    nodes = [f"--nnodes={env['GROUP_WORLD_SIZE']}"] if env.get("GROUP_WORLD_SIZE", "1") != "1" else []
    return ["torchrun", *nodes, f"--nproc_per_node={env['LOCAL_WORLD_SIZE']}"]

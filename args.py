"""The flags of the three scripts, and the keyword arguments derived from them.

This file and the scripts alone read the Namespace; everything else takes plain keyword arguments, which
:func:`data_config`, :func:`model_config` and the other functions below derive from it. An option of the slot head, of
an explanation metric or of an attribution method is a field of its configuration, from which its flag is derived.
Nothing heavy is imported, so that ``--help`` and flag errors are immediate.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.explain.attribution.settings import MethodSettings
from engine.explain.flags import explanation_flags, method_flags
from engine.explain.settings import NONE_LEFT, MetricSettings, metrics_of
from engine.training_flags import BEST_METRICS, loss_flags, optimisation_flags
from sloter import ModelError
from sloter.config import SlotConfig, differences, option_values, options_of, options_with
from sloter.original_names import names_model
from tools import ToolError
from tools.completion import ACTIVATION
from tools.discovery import EXAMPLES, config_text, discovery_flags, examples_text
from tools.flag_rules import ignored, refusal
from tools.flags import (
    MAX_WHOLE,
    Formatter,
    Parser,
    Renamed,
    auto_or,
    boolean,
    boolean_or,
    comma_list,
    number,
    of_field,
    one_of,
    real,
    resume,
    size,
    switch,
    whole,
)
from tools.startup import prepare_imports
from tools.text import visible

AUG_POLICIES = ("trivial", "erasing", "mixup", "cutmix")
SWEPT = ("num_classes", "lambda_value", "power", "slots_per_class", "fold")  # take a list: a run for each value
# Flags of the model that are not options of the slot head, and their keys in a checkpoint.
ARCHITECTURE = {"model": "backbone", "num_classes": "num_classes", "use_slot": "use_slot", "out_stage": "out_stage"}
# Old name of a flag -> its new name, and a function from the old text to the new value.
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
NOT_STORED = ("given", "hints", "cross_validation", "held_out")  # entries of a Namespace that are no flags
Add = Callable[..., Any]  # add_argument of a group of flags


def build_parser(script: str, *, prog: str = "", description: str = "") -> Parser:
    """The parser of a script; all scripts accept all flags, as the published commands require."""
    parser = Parser(
        prog=prog or f"{script}.py", description=description or DESCRIPTIONS[script], fromfile_prefix_chars="@",
        allow_abbrev=False, formatter_class=Formatter,
        epilog="Flags can also be read from a file, several per line, with # comments: @recipes/quickstart.txt. TAB "
               "completes them in bash and zsh after: pip install argcomplete; " + ACTIVATION,
    )  # fmt: skip
    groups: dict[str, Callable[[Add], None]] = {
        "data": _data_flags,
        "model": _model_flags,
        "slot head": _slot_flags,
        "training (train.py)": optimisation_flags,
        "loss and repeats (train.py)": loss_flags,
        "files": _file_flags,
        "explanations and measurements": explanation_flags,
        "attribution methods (torchcam_vis.py)": method_flags,
        "machine": _machine_flags,
        "what there is to choose from": discovery_flags,
    }
    for title, add_flags in groups.items():
        add_flags(parser.add_argument_group(title).add_argument)
    for old, (new, convert) in RENAMED.items():
        parser.add_argument(f"--{old}", action=Renamed, new=new, convert=convert)
    parser.examples = examples_text(EXAMPLES.get(script, ()), f"python {parser.prog}")
    return parser


# fmt: off
def _data_flags(add: Add) -> None:
    add("--dataset", default="MNIST", metavar="NAME",
        help="MNIST5k (ships with the project), MNIST, FashionMNIST, KMNIST, ImageNet, ConText, CUB200, or Folder (one "
             "folder per class, inside train/ and val/ or test/, or not split)")
    add("--dataset_dir", metavar="DIR",
        help="folder of the dataset; MNIST5k needs none, MNIST, FashionMNIST and KMNIST are downloaded to ./data/mnist")
    add("--num_classes", type=comma_list(number(int, low=1, high=MAX_WHOLE)), default="10", metavar="N[,N...]",
        help="use the first N classes; ConText and Folder always use all, and a larger N adds unused outputs; a comma "
             "list trains one run for each value")
    add("--img_size", type=size, default="260", metavar="PIXELS",
        help="resize pictures to 260 (a square) or 192x256 (height x width); the aspect ratio is not kept")
    add("--val_ratio", **real(0.2, above=0, below=1),
        help="share of each class that a Folder without a split keeps for validation; where it is given, train/ "
             "is split so if there is no val/, and test/ is left for testing")
    add("--folds", **whole(None, metavar="K", low=2, high=1000),
        help="train.py: cross-validation, a run for each of K folds of the training pictures, or of those that are not "
             "split yet; each run validates on its fold, and a table gives mean and standard deviation")
    add("--fold", type=comma_list(number(int, low=1, high=1000)), metavar="N[,N...]",
        help="train.py: only these of the K folds, from 1; all if not given")
    add("--groups", metavar="FILE",
        help="train.py: table with the columns file and group, such as the patient of each picture; no group is "
             "divided between folds")
    add("--split", choices=("train", "val", "test"), default="val",
        help="test.py and torchcam_vis.py: the split to evaluate and explain; train.py always validates on val")
    add("--bad_images", choices=("error", "skip"), default="error",
        help="pictures that cannot be read, also those of --image: error names them and stops, skip leaves them out "
             "and counts them")
    add("--aug", type=boolean_or("paper"), default=False, metavar="BOOL|paper",
        help="augment training pictures as the published code does: flips, affine transform, blur, each with "
             "probability 0.5, in random order; paper means the same as true")
    add("--aug_policy", type=comma_list(one_of(*AUG_POLICIES)), metavar="NAME[,NAME...]",
        help="more augmentation: trivial (TrivialAugment), erasing (random erasing), mixup, cutmix; a mixed picture "
             "counts in the training accuracy as the class with the larger share")
    add("--cache", choices=("none", "ram"), default="none",
        help="ram: keep the resized pictures in memory, if they fit into half of the free memory (an error if not)")
    add("--num_workers", type=auto_or(number(int, low=0, high=1024)), default="auto", metavar="N|auto",
        help="processes that load pictures, at most one per core; 0: the script itself loads them; auto: as many as "
             "the cores of this process allow beside its threads")


def _model_flags(add: Add) -> None:
    add("--model", default="resnet18", metavar="NAME",
        help="backbone: the name of any timm model that gives a feature map; a tag (resnet18.a1_in1k) also chooses "
             "the pretrained weights; a bare name of the published code means the weights that it had there")
    add("--pre_trained", **switch(True),
        help="start the backbone from the pretrained weights of --model, which are downloaded once")
    add("--backbone_weights", metavar="FILE",
        help="start the backbone from this .safetensors or .pth file instead")
    add("--use_pre", **switch(False),
        help="start the backbone from the trained plain classifier, <dataset>_no_slot_checkpoint.pth in --pre_dir; "
             "--freeze_layers applies to it, whatever --pre_trained is")
    add("--freeze_layers", **whole(2, low=0, high=100),
        help="do not train the stem and the first N of the backbone's 4 stages, nor change their batch-norm statistics,"
             " if it starts from trained weights: of --pre_trained, --backbone_weights or --use_pre (in the published "
             "code of --pre_trained alone, so --use_pre true --pre_trained false froze nothing; here 0 does that)")
    add("--out_stage", **whole(None, low=1, high=100),
        help="end the backbone after stage N of 4, for a finer grid of places; if not given, all of it is used")
    add("--channel", **whole(512, low=1),
        help="channels of the feature map; the backbone determines them, and another value is only reported")
    add("--use_slot", **switch(True),
        help="true: SCOUTER; false: the plain classifier (FC in the paper)")


def _file_flags(add: Add) -> None:
    add("--output_dir", default="saved_model/", metavar="DIR",
        help="folder for checkpoints, log.jsonl and curves.png; '' saves nothing")
    add("--pre_dir", metavar="DIR",
        help="folder of the plain classifier for --use_pre; --output_dir if not given")
    add("--resume", type=resume, default=None, metavar="FILE|auto",
        help="continue from this checkpoint; auto: from the one in --output_dir, or from the start if there is none")
    add("--tensorboard", **switch(False),
        help="also write metrics and the maps of a few pictures after each epoch to <output_dir>/tensorboard")
    add("--checkpoint", metavar="FILE",
        help="model to evaluate or explain (not for train.py), which sets the model flags; if not given, the file "
             "that train.py writes with the same flags")


def _machine_flags(add: Add) -> None:
    add("--device", metavar="NAME",
        help="cuda, cuda:1, mps or cpu; the best available if not given (the published default, cuda, is an error "
             "without a GPU)")
    add("--channels_last", **switch(False),
        help="store feature maps channels-last: the same results, faster for many backbones")
    add("--amp", choices=("off", "auto", "bf16", "fp16"), default="off",
        help="mixed precision; the slots' last iteration stays in single precision; auto: bf16 where it is fast")
    add("--compile", **switch(False),
        help="compile the model with torch.compile: training and evaluation each start a minute or more later, then "
             "each step is faster; not used on a CPU, where it may be slower, which a note says")
    add("--tf32", **switch(False),
        help="let GPUs multiply matrices in TensorFloat-32, which PyTorch does in convolutions anyway")
    add("--deterministic", **switch(False),
        help="bit-identical results on the same machine; an operation that cannot give them raises an error")
    add("--world_size", **whole(1, low=1),
        help="number of processes; the launcher sets it, and a different value here is reported")
    add("--sync_bn", **switch(False),
        help="compute batch-norm statistics over the batches of all processes (GPUs only)")
    add("--local_rank", "--local-rank", type=int, default=None, metavar="N",
        help="set by old launchers, and ignored")
    add("--dist_url", default="env://", metavar="URL",
        help="rendezvous address of the processes; env:// takes it from the launcher")
# fmt: on


def _slot_flags(add: Add) -> None:
    """Add a flag for each option of the slot head; a swept one takes a comma list."""
    for field in options_of(SlotConfig):
        name, keywords = field.metadata["flag"] or field.name, of_field(field)
        if name in SWEPT:
            lists = {"default": str(field.default), "metavar": "N[,N...]"}
            text = f"{keywords['help']}; a comma list trains one run for each value"
            keywords |= {"type": comma_list(keywords["type"]), "help": text, **lists}
        add(f"--{name}", **keywords)


def parse_args(
    argv: Sequence[str] | None = None, script: str = "train", *, parser: Callable[[], Parser] | None = None
) -> argparse.Namespace:
    """Read and check the flags of a script; an invalid one exits with one line and code 2.

    Besides the flags the Namespace has ``given``, the names of those that were on the command line, and ``hints``, a
    line for each flag under an old name. The swept flags (:data:`SWEPT`) are tuples until :func:`expand_runs`.

    Args:
        argv: the command line; None for that of this process.
        script: its name.
        parser: builds a parser other than that of the script.
    """
    build = parser or (lambda: build_parser(script))
    reader, silent = build(), build()
    args = reader.read(argv)
    if vars(args).pop("print_config", False):
        reader.print_and_exit(config_text(build(), sys.argv[1:] if argv is None else argv, args))
    for action in silent._actions:
        action.default = argparse.SUPPRESS
    args.given, args.hints = frozenset(vars(silent.read(argv))), tuple(dict.fromkeys(reader.hints))
    if "metrics" in args.given and "explain_metrics" not in args.given:
        args.explain_metrics = True
    if args.explain_metrics and not metric_names(args):
        reader.error(NONE_LEFT)
    if fault := refusal(script, reader.prog, vars(args), args.given, lists=SWEPT):
        reader.error(fault)
    args.hints += tuple(ignored(script, vars(args), args.given))
    args.fold = args.fold or (tuple(range(1, args.folds + 1)) if args.folds else (None,))
    prepare_imports()
    return args


def expand_runs(args: argparse.Namespace) -> list[argparse.Namespace]:
    """One Namespace of single values for each combination of the comma lists and each repeat.

    A run has ``swept`` (its values of the flags that take several), ``repeat`` (its number, None if there is only one)
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
    return {name: value for name, value in sorted(vars(run).items()) if name not in NOT_STORED}


def name_config(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``run_name``: what the published code puts into the name of a checkpoint."""
    area_of = (run.lambda_value, run.slots_per_class) if run.cal_area_size else None
    return {**_pick(run, "dataset", "use_slot", "loss_status"), "area_of": area_of}


def machine_config(args: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``start_script``."""
    return _pick(args, "dist_url", "world_size", "device", "tf32", "deterministic", "hints")


def training_options(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``TrainingOptions``."""
    return _pick(run, "epochs", "start_epoch", "seed", "lr", "weight_decay", "sched", "lr_drop", "warmup_epochs",
                 "clip_grad", "accum_steps", "ema", "compile")  # fmt: skip


def best_config(run: argparse.Namespace, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """Keywords of ``Best``; the metric is that of a checkpoint ``state`` if none is given."""
    stored = (state or {}).get("best", {}).get("metric")
    given = "checkpoint_metric" in run.given or not stored
    if not given and stored not in BEST_METRICS:
        raise ToolError(f"--resume: the best epoch of the checkpoint is by '{visible(stored)}', which this version "
                        "does not know: give --checkpoint_metric")  # fmt: skip
    return {"metric": run.checkpoint_metric if given else stored, "patience": run.patience}


def data_config(run: argparse.Namespace, *, first_classes: bool) -> dict[str, Any]:
    """Keywords of ``build_dataset`` except the split.

    Args:
        run: a run.
        first_classes: True for a dataset that takes its first N classes; for others N is used only if it was given.
    """
    counts = first_classes or "num_classes" in run.given
    return {
        **_pick(run, "dataset_dir", "img_size", "bad_images"),
        **validation_config(run),
        "num_classes": run.num_classes if counts else None,
    }


def validation_config(run: argparse.Namespace, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Keywords of ``build_dataset`` that choose the validation pictures of a Folder; a checkpoint stores them.

    They are those of the checkpoint ``state``, if there is one, except with another ``--val_ratio``; those of a fold
    always.
    """
    folds = {"folds": run.folds, "fold": run.fold, "groups": run.groups} if run.folds else None
    folds = getattr(run, "cross_validation", folds)
    own = {
        "val_ratio": run.val_ratio,
        "cross_validation": folds,
        "held_out": getattr(run, "held_out", None),
        "val_from_train": getattr(run, "val_from_train", "val_ratio" in run.given),
    }
    stored = dict(state["data_config"]) if state else {}
    then = stored.get("cross_validation")
    if folds and state and (not then or any(folds[name] != then[name] for name in ("folds", "fold"))):
        was = f"fold {then['fold']} of {then['folds']}" if then else "no fold"
        raise ToolError(f"--fold {folds['fold']} of {folds['folds']}, but the checkpoint held out {was}: give another "
                        "--output_dir")  # fmt: skip
    if "val_ratio" in run.given:
        kept = ["cross_validation", *(["held_out"] if stored.get("val_ratio") == run.val_ratio else [])]
        stored = {name: stored[name] for name in kept if stored.get(name)}
    return {key: stored.get(key, value) for key, value in own.items()}


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
    return option_values(SlotConfig, vars(run))


def loss_options(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``ScouterLoss``, except for weights of the classes."""
    names = ("lambda_value", "power", "label_smoothing", "temperature", "absent_weight", "loss_status")
    return {"relative": run.reference != "none", **{name: getattr(run, name) for name in names}}


def method_settings(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``MethodSettings``."""
    return {"batch_size": run.batch_size, **option_values(MethodSettings, vars(run))}


def metric_settings(run: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``MetricSettings``."""
    return {"seed": run.seed, **option_values(MetricSettings, vars(run))}


def metric_names(run: argparse.Namespace) -> list[str]:
    """Names of the explanation metrics to measure."""
    return metrics_of(run.metrics, sensitivity_samples=run.sensitivity_samples)


def _pick(run: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(run, name) for name in names}


def fitted(run: argparse.Namespace, state: Mapping[str, Any], source: Any) -> argparse.Namespace:
    """Fill the flags that were not given from a checkpoint that a script opens.

    Args:
        run: a run.
        state: the checkpoint, of which ``model_config``, ``data_config`` and ``train_config`` are read.
        source: its file, for the message.

    Raises:
        ToolError: a flag of the model contradicts the checkpoint.
    """
    try:
        wrong = contradiction(run, state["model_config"])
    except ModelError as error:
        raise ToolError(f"{source}: {error}; the file is damaged or was changed: give another one") from error
    if wrong:
        raise ToolError(f"{wrong} ({source}): leave the flag out, or give the checkpoint that it fits")
    trained, config = state["train_config"], state["model_config"]
    known = {
        "dataset": state["data_config"]["dataset"],
        "img_size": tuple(config["img_size"]),
        "num_classes": config["num_classes"],
        **validation_config(run, state),
    }
    flags = {**vars(run), **{name: value for name, value in known.items() if name not in run.given}}
    # The displayed loss is that of the training; the published test commands give other values.
    flags |= {name: trained[name] for name in ("lambda_value", "power")}
    if flags["dataset"] == known["dataset"]:
        flags["dataset_dir"] = run.dataset_dir or trained.get("dataset_dir")
    return argparse.Namespace(**flags)


def reading_options(run: argparse.Namespace) -> dict[str, Any]:
    """The given options that only change how a trained slot model's evidence is read."""
    return {name: getattr(run, name) for name in options_with("reading") if name in run.given}


def contradiction(run: argparse.Namespace, config: Mapping[str, Any]) -> str | None:
    """The first given flag that a stored model configuration contradicts, as a sentence; None if there is none."""
    for flag, key in ARCHITECTURE.items():
        if flag == "model" and names_model(run.model, config[key]):
            continue
        if flag in run.given and key in config and getattr(run, flag) != config[key]:
            return f"--{flag} {getattr(run, flag)}, but the checkpoint has {config[key]}"
    if not config["use_slot"]:
        return None
    flags = {field.name: field.metadata["flag"] or field.name for field in dataclasses.fields(SlotConfig)}
    for name, wanted, stored in differences(slot_options(run), config, "forward"):
        if flags[name] in run.given:
            return f"--{flags[name]} {wanted}, but the checkpoint has {stored}"
    return None

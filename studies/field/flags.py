"""The flags of the study against the field; imports nothing heavy."""

import argparse
from collections.abc import Sequence

from engine.explain.attribution.settings import METHOD_NAMES, MethodSettings
from engine.explain.flags import add_options
from engine.explain.settings import METRIC_NAMES, NONE_LEFT, MetricSettings, metrics_of
from studies.field.plan import MODELS
from studies.head_study.flags import data
from tools.discovery import examples_text
from tools.flags import Formatter, Parser, comma_list, one_of, real, size, whole

EXAMPLES = (
    ("two models and two methods on the digits that ship with the project",
     "--data MNIST5k --model resnet18 --img_size 56 --models linear,direct --methods CAM,RISE --images 20"),
    ("all of them on two datasets", "--data CUB200:CUB_200_2011:25 ImageNet:imagenet:10"),
)  # fmt: skip


# fmt: off
def build_parser() -> Parser:
    """The parser of ``python -m studies.field``."""
    parser = Parser(
        prog="python -m studies.field", allow_abbrev=False, formatter_class=Formatter,
        description="Compare the forms of SCOUTER with other ways to explain a classifier: train all on the same "
                    "frozen features, and measure their maps on the same pictures. The same command continues an "
                    "interrupted run.",
    )
    parser.examples = examples_text(EXAMPLES, parser.prog)
    add = parser.add_argument_group("pictures and backbone").add_argument
    add("--data", type=data, nargs="+", required=True, metavar="NAME[:DIR[:N]]",
        help="dataset, its folder and number of classes; each of several has rows of its own")
    add("--model", default="tf_efficientnet_lite0", metavar="NAME", help="backbone: the name of a timm model")
    add("--backbone_weights", metavar="FILE", help="weights of the backbone; timm's if not given")
    add("--img_size", type=size, default="224", metavar="PIXELS", help="size to which pictures are resized")
    add = parser.add_argument_group("models and methods").add_argument
    add("--models", type=comma_list(one_of(*MODELS)), default=",".join(MODELS), metavar="NAME[,NAME...]",
        help=f"classifiers to compare, from {', '.join(MODELS)}")
    add("--methods", type=comma_list(one_of(*METHOD_NAMES)), default=",".join(METHOD_NAMES), metavar="NAME[,NAME...]",
        help="attribution methods that explain the linear classifier")
    add("--epochs", **whole(15, low=1), help="epochs of each training")
    add("--train_batch", **whole(32, low=1), help="pictures per training step")
    add = parser.add_argument_group("measurement").add_argument
    add("--images", **whole(500, low=1),
        help="pictures of each dataset on which a method is measured, drawn at random from those with boxes")
    add("--slow_images", **whole(100, low=1), help="the same for a method of more than --slow_forwards")
    add("--slow_forwards", **real(50, low=0, high=10**9),
        help="forward passes for one map above which a method is measured on --slow_images pictures")
    add("--batch_size", **whole(64, low=1), help="pictures in one forward pass of a measurement")
    add("--metrics", type=comma_list(one_of(*METRIC_NAMES)), default=",".join(METRIC_NAMES), metavar="NAME[,NAME...]",
        help=f"explanation metrics, from {', '.join(METRIC_NAMES)}")
    add("--seed", **whole(0, low=0), help="seed of the trainings, of the drawn pictures and of the methods")
    add = parser.add_argument_group("parameters of the metrics and methods").add_argument
    for config in (MetricSettings, MethodSettings):
        add_options(add, config)
    add = parser.add_argument_group("machine and files").add_argument
    add("--device", metavar="NAME", help="cuda, cuda:1, mps or cpu; the best available if not given")
    add("--output_dir", metavar="DIR", default="field", help="folder for the results of the steps, tables and figure")
    return parser
# fmt: on


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the flags; an invalid one exits with one line and code 2."""
    parser = build_parser()
    args = parser.parse_args(argv)
    for flag in ("models", "methods"):
        setattr(args, flag, tuple(dict.fromkeys(getattr(args, flag))))
    args.metrics = tuple(metrics_of(args.metrics, sensitivity_samples=args.sensitivity_samples))
    if not args.metrics:
        parser.error(NONE_LEFT)
    names = [name for name, _, _ in args.data]
    if twice := next((name for name in names if names.count(name) > 1), None):
        parser.error(f"argument --data: {twice} is given twice; give it a run of its own with another --output_dir")
    return args

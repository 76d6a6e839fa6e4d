"""The flags of the benchmark: those of the scripts, and its own; imports nothing heavy."""

import argparse
from collections.abc import Sequence

import args as flags
from tools.discovery import examples_text
from tools.flags import Parser, comma_list, number, one_of, switch

DEFAULT_PARTS = ("head", "data", "augment", "train", "infer", "memory", "explain", "draw", "scale", "cores", "start")
PARTS = (*DEFAULT_PARTS, "evaluate", "report", "metrics", "compile")  # each of these takes minutes
MAX_CLASSES = 10**6
EXAMPLES = (
    ("every part, with fewer pictures and rounds", "--quick true"),
    ("the training step of a model at its picture size", "train --model resnet50 --pre_trained false --img_size 224"),
)


def build_parser() -> Parser:
    """The parser of ``python -m studies.benchmark``."""
    parser = flags.build_parser(
        "benchmark",
        prog="python -m studies.benchmark",
        description="Measure the speed of each part of the program and of its reference.",
    )
    add = parser.add_argument_group("benchmark").add_argument
    text = f"parts to measure: {', '.join(PARTS)}; all before evaluate if none is given"
    parser.add_argument("parts", nargs="*", type=one_of(*PARTS), metavar="part", help=text)
    add("--quick", **switch(False), help="measure with fewer pictures and rounds")
    add(
        "--cpu_time",
        **switch(False),
        help="train, infer: on a CPU, count the seconds of this process, which other programs disturb less",
    )
    add("--json", metavar="FILE", help="also write the tables to this JSON file")
    add(
        "--class_counts",
        type=comma_list(number(int, low=2, high=MAX_CLASSES)),
        default="10,100,1000",
        metavar="N[,N...]",
        help="train, infer, memory: numbers of classes",
    )
    add("--trace", metavar="FILE", help="train, infer: write a torch.profiler trace of the last variant to this file")
    parser.examples = examples_text(EXAMPLES, parser.prog)
    parser.set_defaults(dataset="MNIST5k", batch_size=8, slots_per_class="1", to_k_layer=3)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the flags; an invalid one exits with one line and code 2."""
    return flags.parse_args(argv, "benchmark", parser=build_parser)

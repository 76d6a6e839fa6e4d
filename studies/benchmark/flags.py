"""The flags of the benchmark: those of the scripts, and its own. Imports nothing heavy."""

import argparse
from collections.abc import Sequence

import args as flags
from tools.flags import Parser, one_of, switch

PARTS = ("head", "data", "train", "infer", "explain", "scale")


def build_parser() -> Parser:
    """The parser of ``python -m studies.benchmark``."""
    parser = flags.build_parser(
        "benchmark",
        prog="python -m studies.benchmark",
        description="Measure how fast the parts of the program are, beside what they are compared with, in one run.",
    )
    add = parser.add_argument
    text = f"parts to measure, of {', '.join(PARTS)}; all if none is given"
    add("parts", nargs="*", type=one_of(*PARTS), metavar="part", help=text)
    add("--quick", **switch(False), help="fewer pictures and rounds")
    add("--json", metavar="FILE", help="also write the tables to this file")
    add("--trace", metavar="FILE", help="train, infer: also write a torch.profiler trace of the last variant")
    parser.set_defaults(dataset="MNIST5k", batch_size=8, slots_per_class="1", to_k_layer=3)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The checked flags; exits with one line and code 2 on one that is wrong."""
    return flags.parse_args(argv, "benchmark", parser=build_parser)

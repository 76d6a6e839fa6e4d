"""The flags of the head study; it imports nothing heavy."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from sloter.config import SlotConfig, options_of
from tools.flags import Parser, boolean, comma_list, number, of_field, one_of, size

FRAME_PATTERNS = 8
# Options of a slot head that the study may change, and how the value of each is read.
CHANGES: dict[str, Callable[[str], Any]] = {
    field.name: one_of(*field.metadata["choices"]) if field.metadata["choices"] else of_field(field)["type"]
    for field in options_of(SlotConfig)
    if field.name not in ("slots_per_class", "loss_status")
}
# Old name of an option: the new one, and the old text to the new value.
RENAMED: dict[str, tuple[str, Callable[[str], str]]] = {"worth": ("value_weighting", str), "tau": ("logit_scale", str),
           "floor": ("reference", lambda text: "min" if boolean(text) else "none")}  # fmt: skip
HEADS = ("linear", "baseline", "paper", "qknorm", "direct")


def head(text: str) -> str:
    """One of :data:`HEADS`; ``control`` is an old name of the baseline."""
    return one_of(*HEADS)({"baseline": "baseline"}.get(text, text))


def data(text: str) -> tuple[str, str | None, int | None]:
    """``NAME[:FOLDER[:CLASSES]]``."""
    name, _, rest = text.partition(":")
    folder, _, classes = rest.rpartition(":") if rest.rpartition(":")[2].isdigit() else (rest, "", "")
    return name, folder or None, int(classes) if classes else None


def change(text: str) -> tuple[str, Any]:
    """``keyword=value`` of a slot head."""
    name, equal, value = text.partition("=")
    if name in RENAMED and equal:
        name, convert = RENAMED[name]
        value = convert(value)
    if name not in CHANGES or not equal:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEYWORD=VALUE with a keyword of {', '.join(CHANGES)}")
    try:
        return name, CHANGES[name](value)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from None


def build_parser() -> Parser:
    """The parser of ``python -m studies.head_study``."""
    parser = Parser(
        prog="python -m studies.head_study",
        description="Train classifier heads on the frozen features of a data set, and compare accuracy and maps.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=data, nargs="+", required=True, metavar="NAME[:DIR[:N]]",
        help="data set, its folder, its first N classes; several are joined, class after class")  # fmt: skip
    add("--frames", type=number(int, low=0), default=0, metavar="N",
        help="hang the pictures in N kinds of frames among distractors: N times as many classes")  # fmt: skip
    add("--model", default="tf_efficientnet_lite0", help="backbone")
    add("--backbone_weights", metavar="FILE", help="its weights; without it those of timm")
    add("--img_size", type=size, default="224", metavar="PIXELS", help="of the pictures")
    add("--heads", type=comma_list(head), default=",".join(HEADS), help="what is compared")
    add("--signs", type=comma_list(int), default="1,-1", help="of slot heads: 1 positive, -1 negative")
    add("--lrs", type=comma_list(number(float, low=0, above=True)), default="3e-3", help="learning rates")
    add("--seeds", type=number(int, low=1), default=3, metavar="N", help="runs of each, seeds 0 to N-1")
    add("--epochs", type=number(int, low=1), default=15, metavar="N", help="of each run")
    add("--batch_size", type=number(int, low=1), default=32, metavar="N", help="of each step")
    add("--weight_decay", type=number(float, low=0), default=0.01, help="of AdamW")
    add("--label_smoothing", type=number(float, low=0), help="in training; without it 0.2 for direct, 0 for others")
    add("--temperature", type=number(float, low=0, above=True), help="of the loss; without it 2 for direct, else 1")
    add("--lambda_value", type=number(float, low=0), default=1.0, help="price of attention")
    add("--power", type=number(float, low=0, above=True), default=2.0, help="of the mean attention")
    add("--change", type=change, nargs="+", default=[], metavar="KEYWORD=VALUE",
        help=f"what slot heads have otherwise: {', '.join(CHANGES)}")  # fmt: skip
    add("--score_images", type=number(int, low=0), default=0, metavar="N",
        help="insertion and deletion of so many pictures, from the pixels on")  # fmt: skip
    add("--amp", choices=("off", "auto", "bf16"), default="auto", help="precision of the 1x1 convolution")
    add("--device", help="cuda, cuda:1 or cpu; the best that is there if not given")
    add("--features_dir", metavar="DIR", help="where features are kept; --output_dir if not given")
    add("--output_dir", metavar="DIR", default="head_study", help="where tables go")
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The checked flags; exits with one line and code 2 on one that is wrong."""
    parser = build_parser()
    args = parser.parse_args(argv)
    args.changes = dict(args.change)
    if args.frames > FRAME_PATTERNS:
        parser.error(f"argument --frames: {args.frames} is above {FRAME_PATTERNS}, the kinds of frames that there are")
    if args.label_smoothing is not None and args.label_smoothing > 1:
        parser.error(f"argument --label_smoothing: {args.label_smoothing:g} is above 1")
    if args.changes.get("dropout", 0) >= 1:
        parser.error(f"argument --change: dropout={args.changes['dropout']:g} leaves nothing")
    if args.changes.get("hidden_dim", 0) % 4:
        parser.error(f"argument --change: hidden_dim={args.changes['hidden_dim']} is not a multiple of 4")
    if wrong := set(args.signs) - {1, -1}:
        parser.error(f"argument --signs: {wrong.pop()} is neither 1 nor -1")
    return args

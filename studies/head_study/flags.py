"""The flags of the head study; imports nothing heavy."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from args import RENAMED
from sloter.config import SlotConfig, options_of
from tools.discovery import examples_text
from tools.flags import MAX_WHOLE, Formatter, Parser, comma_list, number, of_field, one_of, real, size, whole

EXAMPLES = (
    ("two heads of one sign on the digits that ship with the project",
     "--data MNIST5k --model resnet18 --img_size 56 --heads linear,direct --signs 1 --seeds 1"),
    ("one more option of the slot heads", "--data CUB200:CUB_200_2011:25 --heads qknorm --change to_k_layers=3"),
)  # fmt: skip
FRAME_PATTERNS = 8
HEADS = ("linear", "baseline", "paper", "qknorm", "direct")
# Options of the slot head that the study may change, and the function that reads the value of each.
CHANGES: dict[str, Callable[[str], Any]] = {
    field.name: one_of(*field.metadata["choices"]) if field.metadata["choices"] else of_field(field)["type"]
    for field in options_of(SlotConfig)
    if field.name not in ("slots_per_class", "loss_status")
}


def head(text: str) -> str:
    """Read one of :data:`HEADS`; ``control`` is the old name of the baseline."""
    return one_of(*HEADS)("baseline" if text == "control" else text)


def sign(text: str) -> int:
    """Read 1 or -1."""
    if text not in ("1", "-1"):
        raise argparse.ArgumentTypeError(f"{text} is neither 1 nor -1")
    return int(text)


def data(text: str) -> tuple[str, str | None, int | None]:
    """Read ``NAME[:FOLDER[:CLASSES]]``."""
    name, _, rest = text.partition(":")
    folder, _, classes = rest.rpartition(":") if rest.rpartition(":")[2].isdigit() else (rest, "", "")
    try:
        return name, folder or None, number(int, low=1, high=MAX_WHOLE)(classes) if classes else None
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}") from None


def change(text: str) -> tuple[str, Any]:
    """Read ``OPTION=VALUE`` of the slot head; old names of options are accepted."""
    given, equal, value = text.partition("=")
    name, read = RENAMED.get(given) or (given, CHANGES.get(given))
    if read is None or not equal:
        raise argparse.ArgumentTypeError(f"'{text}' is not OPTION=VALUE with an option of {', '.join(CHANGES)}")
    try:
        return name, read(value)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{given}: {error}") from None


# fmt: off
def build_parser() -> Parser:
    """The parser of ``python -m studies.head_study``."""
    parser = Parser(
        prog="python -m studies.head_study", allow_abbrev=False, formatter_class=Formatter,
        description="Train classifier heads on the frozen features of a dataset, and compare their accuracy and maps.",
    )
    add = parser.add_argument_group("pictures").add_argument
    add("--data", type=data, nargs="+", required=True, metavar="NAME[:DIR[:N]]",
        help="dataset, its folder and number of classes; several are joined, with consecutive class numbers")
    add("--frames", **whole(0, low=0, high=FRAME_PATTERNS),
        help="put the pictures into frames of N patterns, among distractors, for N times as many classes")
    add("--img_size", type=size, default="224", metavar="PIXELS", help="size to which pictures are resized")
    add = parser.add_argument_group("backbone").add_argument
    add("--model", default="tf_efficientnet_lite0", metavar="NAME", help="backbone: the name of a timm model")
    add("--backbone_weights", metavar="FILE", help="weights of the backbone; timm's if not given")
    add("--features_dir", metavar="DIR", help="folder for the features; --output_dir if not given")
    add = parser.add_argument_group("heads").add_argument
    add("--heads", type=comma_list(head), default=",".join(HEADS), metavar="NAME[,NAME...]",
        help="heads to compare: the linear classifier, the baseline without attention, and three forms of slot head")
    add("--signs", type=comma_list(sign), default="1,-1", metavar="1[,-1]",
        help="signs of the slot heads: 1 positive, -1 negative")
    add("--change", type=change, nargs="+", default=[], metavar="OPTION=VALUE",
        help=f"set an option of every slot head, one of {', '.join(CHANGES)}")
    add = parser.add_argument_group("training").add_argument
    add("--lrs", type=comma_list(number(float, above=0)), default="3e-3", metavar="LR[,LR...]", help="learning rates")
    add("--seeds", **whole(3, low=1), help="runs of each head, sign and rate, with seeds 0 to N-1")
    add("--epochs", **whole(15, low=1), help="epochs of each run")
    add("--batch_size", **whole(32, low=1), help="pictures per step")
    add("--weight_decay", **real(0.01, low=0), help="weight decay of AdamW")
    add("--label_smoothing", **real(None, low=0, high=1),
        help="label smoothing of the training loss; if not given, 0.2 for direct and 0 for the others")
    add("--temperature", **real(None, above=0),
        help="the training loss divides the logits by this; if not given, 2 for direct and 1 for the others")
    add("--absent_weight", **real(None, low=0),
        help="weight of the absent classes' evidence in the training loss; if not given, that of the recipe or 0")
    add("--lambda_value", **real(1.0, low=0), help="weight of the attention penalty")
    add("--power", **real(2.0, above=0), help="exponent of the mean attention in the penalty")
    add = parser.add_argument_group("measurements, machine and files").add_argument
    add("--score_images", **whole(0, low=0),
        help="also measure insertion and deletion on N pictures, which runs the backbone many times")
    add("--amp", choices=("off", "auto", "bf16"), default="auto", help="precision of the 1x1 convolution")
    add("--device", metavar="NAME", help="cuda, cuda:1, mps or cpu; the best available if not given")
    add("--output_dir", metavar="DIR", default="head_study", help="folder for the tables and the figure")
    parser.examples = examples_text(EXAMPLES, parser.prog)
    return parser
# fmt: on


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the flags; an invalid one exits with one line and code 2."""
    args = build_parser().parse_args(argv)
    args.changes = dict(args.change)
    return args

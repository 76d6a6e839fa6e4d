"""The flags of the export; imports nothing heavy."""

import argparse
import importlib.util
from collections.abc import Sequence
from typing import Any

from sloter.config import SlotConfig, options_of, options_with
from tools.discovery import examples_text
from tools.flags import Formatter, Parser, of_field, size

ENDINGS = {"onnx": ".onnx", "torch_export": ".pt2", "torchscript": ".pt"}
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime")}  # of requirements-export.txt, by format
INPUTS = ("normalised", "uint8")
EXAMPLES = (
    ("the digits model that ships with the project", "--checkpoint pretrained/digits --output digits.onnx"),
    ("a file that takes pixels, compared on a picture",
     "--checkpoint run/CUB200_use_slot_checkpoint.pth --input uint8 --image bird.jpg"),
    ("a file for torch.export.load", "--checkpoint run/CUB200_use_slot_checkpoint.pth --format torch_export"),
)  # fmt: skip


# fmt: off
def build_parser() -> Parser:
    """The parser of ``python -m studies.export``."""
    parser = Parser(
        prog="python -m studies.export", allow_abbrev=False, formatter_class=Formatter,
        description="Write a trained model to a file that needs nothing of this project, with outputs logits, "
                    "attention and evidence, and compare the file with PyTorch.",
    )
    parser.examples = examples_text(EXAMPLES, parser.prog)
    add = parser.add_argument_group("model and file").add_argument
    add("--checkpoint", required=True, metavar="FILE",
        help="checkpoint of train.py or of the published code, or a folder of save_pretrained")
    add("--format", choices=tuple(ENDINGS), default="onnx",
        help="format of the file; onnx needs the packages of requirements-export.txt")
    add("--output", metavar="FILE",
        help=f"the file; if not given, beside the checkpoint, with the ending {', '.join(ENDINGS.values())}")
    add("--input", choices=INPUTS, default="normalised",
        help="input of the file: normalised, float32 (b, ch, H, W) with mean and std already applied, or uint8, "
        "pixels (b, H, W, ch) that the file normalises")
    add("--img_size", type=size, metavar="PIXELS",
        help="size of the pictures, which the file fixes; that in training if not given")
    add = parser.add_argument_group("reading of the evidence").add_argument
    for field in options_of(SlotConfig):
        if field.name in options_with("reading"):
            about = of_field(field)
            add(f"--{field.name}", **{**about, "default": argparse.SUPPRESS,
                                      "help": f"{about['help']}; that of the checkpoint if not given"})
    add = parser.add_argument_group("comparison with PyTorch").add_argument
    add("--image", nargs="+", metavar="FILE",
        help="pictures with which the file is compared with PyTorch, instead of random ones")
    return parser
# fmt: on


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the flags; an invalid one, or a missing package, exits with one line and code 2."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if missing := [name for name in PACKAGES.get(args.format, ()) if importlib.util.find_spec(name) is None]:
        verb = "is" if len(missing) == 1 else "are"
        parser.exit(2, f"{parser.prog}: error: --format {args.format} needs {', '.join(missing)}, which {verb} not "
                       "installed: pip install -r requirements-export.txt\n")  # fmt: skip
    return args


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """The given options that change how the evidence is read."""
    return {name: getattr(args, name) for name in options_with("reading") if hasattr(args, name)}

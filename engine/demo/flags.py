"""The flags of demo.py, and what can be checked before a page is made; imports nothing heavy."""

import importlib.metadata
import importlib.util
from collections.abc import Sequence

from engine.demo.listener import listening
from tools import ToolError
from tools.discovery import EXAMPLES, examples_text
from tools.flags import Formatter, Parser, real, whole
from tools.text import visible

INSTALL = "pip install -r requirements-demo.txt"
GRADIO = 6  # the major version that the page is written for
LAST_PORT = 65_535


def build_parser() -> Parser:
    """Build the parser of demo.py."""
    parser = Parser(
        prog="demo.py", allow_abbrev=False, formatter_class=Formatter,
        description="Explain pictures on a web page of this machine: drop a picture, see the evidence for each class.",
    )  # fmt: skip
    model = parser.add_argument_group("model").add_argument
    model("--checkpoint", metavar="FILE", help="checkpoint of a slot model, or a folder of save_pretrained; the digits "
                                               "model that ships with the project if not given")  # fmt: skip
    model("--device", metavar="NAME", help="cuda, cuda:1, mps or cpu; the best available if not given")
    data = parser.add_argument_group("examples").add_argument
    data("--examples", **whole(12, low=0, high=100),
         help="number of pictures of the validation split to choose from; 0: none")  # fmt: skip
    data("--dataset", metavar="NAME", help="dataset of the examples; the checkpoint's if not given")
    data("--dataset_dir", metavar="DIR", help="its folder; the one in training if not given")
    server = parser.add_argument_group("server").add_argument
    server("--host", default="127.0.0.1", metavar="ADDRESS",
           help="address to listen on; other machines can reach the page at 0.0.0.0")  # fmt: skip
    server("--port", **whole(7860, low=0, high=LAST_PORT), help="port to listen on; 0: any that is free")
    server("--max_upload", **real(20.0, metavar="MB", above=0, high=10_000), help="largest file that can be dropped")
    parser.examples = examples_text(EXAMPLES["demo"], f"python {parser.prog}")
    return parser


def check_start(argv: Sequence[str] | None = None) -> None:
    """Check the flags, Gradio and the address to listen on; a fault exits with one line and code 2."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        check_gradio()
        with listening(args.host, args.port):
            pass
    except ToolError as error:
        parser.exit(2, f"{parser.prog}: error: {visible(str(error))}\n")


def check_gradio() -> None:
    """Raise unless Gradio is installed in the version that the page is written for.

    Raises:
        ToolError: it is missing or of another version.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ToolError(f"the package gradio is not installed: {INSTALL}")
    version = importlib.metadata.version("gradio")
    if version.partition(".")[0] != str(GRADIO):
        raise ToolError(f"gradio {version} is installed, but the page needs version {GRADIO}: {INSTALL}")

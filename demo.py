"""Explain pictures on a web page of this machine: the evidence for and against each class, and for one over another."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("demo.py")  # before anything else is imported

import argparse
import logging
import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import args as flags
from engine.demo.flags import build_parser, check_start
from tools.startup import prepare_imports

if __name__ == "__main__":
    check_start()  # before the heavy imports: --help and errors of flags are immediate
    prepare_imports()

from dataset import DataError
from engine.demo.examples import Example, check_on_disk, choose_examples
from engine.demo.listener import is_local, listening, url_of
from engine.pretrained import read_folder
from engine.trained_model import TrainedModel
from sloter import ModelError
from tools import run_folder
from tools.console import run_script, say, start_script
from tools.ending import finish

logger = logging.getLogger("demo")

DIGITS = Path(__file__).resolve().parent / "pretrained" / "digits"
MEGABYTE = 2**20  # as the page counts


def main() -> None:
    """Open the model, choose the examples and serve the page until a stop signal."""
    args = build_parser().parse_args()
    run = tested_run(args)
    device = start_script("demo.py", **flags.machine_config(run))
    with listening(args.host, args.port) as listener:
        path, state = opened(run.checkpoint)
        run = flags.fitted(run, state, path)
        trained = TrainedModel(path, state, device=device, img_size=run.img_size)
        trained.check_explains_itself()
        examples = choose(args, run, trained)
        if not is_local(listener):
            logger.warning("--host %s: anybody who reaches this machine can use the page", args.host)
        serve_page(trained, examples, listener, about=about(trained), max_bytes=int(args.max_upload * MEGABYTE))


def serve_page(
    trained: TrainedModel, examples: Sequence[Example], listener: socket.socket, *, about: str, max_bytes: int
) -> None:
    """Serve the page until a stop signal; dropped pictures and drawn figures are deleted then.

    Args:
        trained: a slot model.
        examples: pictures to choose from.
        listener: from :func:`engine.demo.listener.listening`.
        about: line about the model.
        max_bytes: of a file that can be uploaded.
    """
    with tempfile.TemporaryDirectory(prefix="scouter_demo_") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        # Gradio reads these when it is imported.
        from engine.demo.actions import Actions
        from engine.demo.page import build_page
        from engine.demo.server import serve

        page = build_page(Actions(trained, examples), title="What does the model see?", about=about)
        say(f"{trained.path}: open {url_of(listener)} in a browser; Ctrl-C ends the page")
        serve(page, listener, max_bytes=max_bytes)


def tested_run(args: argparse.Namespace) -> argparse.Namespace:
    """The flags as those of test.py, which opens checkpoints and their validation split in the same way."""
    given = {name: getattr(args, name) for name in ("checkpoint", "dataset", "dataset_dir", "device")}
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return flags.expand_runs(flags.parse_args([*words, "--bad_images=skip"], script="test"))[0]


def opened(checkpoint: str | None) -> tuple[Path, dict[str, Any]]:
    """Path and content of the checkpoint, or of the folder of a trained model; the digits model by default."""
    path = Path(checkpoint) if checkpoint else DIGITS
    return read_folder(path) if path.is_dir() else (path, run_folder.load_tested(path))


def choose(args: argparse.Namespace, run: argparse.Namespace, trained: TrainedModel) -> list[Example]:
    """Choose the examples; data that are not there are an error only if a flag names them."""
    if not args.examples:
        return []
    try:
        check_on_disk(run.dataset, run.dataset_dir)
        data = trained.load_split(run.dataset, **flags.data_config(run, first_classes=True))
    except DataError as error:
        if args.dataset or args.dataset_dir:
            raise
        logger.warning("no examples: %s", error)
        return []
    return choose_examples(data, args.examples)


def about(trained: TrainedModel) -> str:
    """Line about the model."""
    count, data = len(trained.class_names), trained.state["data_config"]["dataset"]
    data = "the pictures of a folder" if data == "Folder" else data
    return (f"{trained.config['backbone']} with slots, trained on {data}: {count} class{'es' * (count > 1)}. "
            "The coloured evidence is no estimate: its sum is the logit, which decides.")  # fmt: skip


if __name__ == "__main__":
    finish(run_script(main, "demo.py", (ModelError, DataError)))

"""Export a trained model, and check the file against PyTorch: ``python -m studies.export --checkpoint FILE``."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("export")  # before anything else is imported

from studies.export.flags import parse_args

if __name__ == "__main__":
    parse_args()  # before the heavy imports, so that --help and flag errors are immediate

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from dataset import DataError
from engine.pretrained import CARD, CONFIG, WEIGHTS, read_folder
from engine.trained_model import TrainedModel
from sloter import ModelError
from studies.export.check import TOLERANCE, check, largest_differences, pictures
from studies.export.flags import ENDINGS, reading_options
from studies.export.formats import FORMATS, exporting
from studies.export.metadata import is_exported, metadata
from studies.export.module import ExportedModel
from tools import ToolError, run_folder
from tools.console import run_script, say, set_up_console
from tools.ending import finish
from tools.files import check_outputs, keep_foreign, writable_folder, write_atomically
from tools.text import counted, size_text


def main() -> None:
    """Open the model, export it, compare the file with PyTorch, and write it."""
    args = parse_args()
    set_up_console("export")
    source = Path(args.checkpoint)
    output = Path(args.output) if args.output else default_output(source, args.format)
    own = [source / name for name in (WEIGHTS, CONFIG, CARD)] if source.is_dir() else [source]
    check_output(output, inputs=[*own, *map(Path, args.image or ())])
    path, state = read_folder(source) if source.is_dir() else (source, run_folder.load_tested(source))
    trained = TrainedModel(
        path, state, device=torch.device("cpu"), img_size=args.img_size, reading=reading_options(args)
    )
    pixels = pictures(trained, args.image or [])  # (b, ch, H, W)
    module = ExportedModel(trained, uint8=args.input == "uint8")
    chosen, example = FORMATS[args.format], module.batch(pixels[:1].repeat(2, 1, 1, 1))
    entries = metadata(trained, uint8=module.uint8)
    with exporting(args.format):
        content = chosen.write(module, example, entries)
        run = chosen.open(content)
        worst = largest_differences(run, trained, module, pixels)
    check(worst)
    keep_foreign(output, is_exported)
    write_atomically(output, content)
    count = counted(len(pixels), "given picture" if args.image else "random picture")
    say(f"compared with PyTorch by {chosen.runner} on {count}: {verdict(worst)}")
    say(f"saved: {output}, {size_text(len(content))}, {interface(trained, module, entries['input_shape'])}")


def default_output(source: Path, name: str) -> Path:
    """File beside a checkpoint, or in a folder of save_pretrained."""
    return (source / WEIGHTS if source.is_dir() else source).with_suffix(ENDINGS[name])


def check_output(path: Path, *, inputs: Iterable[Path]) -> None:
    """Raise before long work where the file could not be written, or would replace one that the program reads.

    Raises:
        ToolError: the path names a folder, a device or one of the inputs, or its folder cannot be written.
    """
    check_outputs(path)
    if any(path.resolve() == file.resolve() for file in inputs):
        raise ToolError(f"--output {path} is a file that this run reads: give the name of a new file")
    writable_folder(path.parent)


def verdict(worst: Mapping[str, float]) -> str:
    """Largest differences in words."""
    if "evidence" not in worst:
        return f"logits differ by at most {worst['logits']:.1e} of the largest one ({TOLERANCE:g} is allowed)"
    return (f"logits and evidence differ by at most {max(worst['logits'], worst['evidence']):.1e} of the sum of "
            f"|evidence|, logits from that sum by {worst['sum']:.1e} ({TOLERANCE:g} is allowed)")  # fmt: skip


def interface(trained: TrainedModel, module: ExportedModel, shape: list[int | str]) -> str:
    """Input and outputs of the file in words."""
    size = "x".join(map(str, shape[1:]))
    grid = "" if not trained.config["use_slot"] else ", attention and evidence"
    dtype = "uint8 pixels" if module.uint8 else "normalised float32"
    return f"images (b, {size}) {dtype} to logits{grid} of {len(trained.class_names)} classes"


if __name__ == "__main__":
    finish(run_script(main, "export", (ModelError, DataError)))

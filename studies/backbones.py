"""Try one small model of every module of timm as a backbone: ``python -m studies.backbones [MODULE ...]``.

The table is written into docs/backbones.md. A module that is not in it yet is tried with its smallest model.
"""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
import argparse
import difflib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.discovery import examples_text
from tools.flags import Parser

EXAMPLES = (("renew every row", ""), ("try a module of timm, or renew its row", "convnext"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the flags; an invalid one exits with one line and code 2."""
    parser = Parser(
        prog="python -m studies.backbones",
        description="Try one small model of every module of timm as a backbone, and write docs/backbones.md.",
        allow_abbrev=False,
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="modules of timm, such as convnext; all if none")
    parser.examples = examples_text(EXAMPLES, parser.prog)
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse_args()  # before the heavy imports, so that --help is immediate

import timm
import torch

from sloter import ModelError
from sloter.slot_model import build_model
from tools import ToolError
from tools.console import run_script
from tools.ending import finish

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
START, END = "<!-- backbones -->\n", "<!-- /backbones -->"
MAX_PARAMETERS = 200_000_000  # of a model that is tried; the walk over one of 412 million took over 24 GB
COLUMNS = ("slots", "plain", "out_stage", "plain, out_stage", "non-square", "freeze")
HEADER = ("| module of timm | model | pictures | slots | plain | `--out_stage 2` | plain, `--out_stage 2` | "
          "non-square | `--freeze_layers 1` | refused |\n|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip


def smallest(module: str) -> str:
    """Name of the model of a timm module with the fewest parameters; the models are built without memory."""
    return min(timm.list_models(module=module), key=parameters)


def parameters(model: str) -> int:
    """Number of parameters of a timm model."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in timm.create_model(model).parameters())


def attempt(model: str, size: tuple[int, int], **options: Any) -> str:
    """Build a classifier and compute one forward and one backward pass.

    Returns:
        Height and width of the map, or ``yes`` for a plain classifier.

    Raises:
        ModelError: the model is refused.
        AssertionError: a trainable parameter gets no finite gradient, or a refusal is longer than a line.
    """
    torch.manual_seed(0)
    try:
        classifier = build_model(backbone=model, num_classes=3, img_size=size, hidden_dim=16, **options)
    except ModelError as error:
        assert "\n" not in str(error), error
        raise
    output = classifier(torch.randn(2, 3, *size))
    assert output.logits.shape == (2, 3), output.logits.shape
    loss = output.logits.square().sum()
    if output.attn is not None:
        loss = loss + output.attn.sum()
    loss.backward()
    for name, parameter in classifier.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), f"{model}: no gradient of {name}"
    return "yes" if output.attn is None else "x".join(map(str, output.attn.shape[-2:]))


def sizes_of(model: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Sizes (H, W) to try, square and not: small ones first, then those of the model's pretrained weights."""
    config = timm.get_pretrained_cfg(model)
    own = config.input_size[-1] if config is not None else 224
    squares = dict.fromkeys([128, 224, own, 256])
    oblongs = [(96, 128), (own, own + 32), (own, 2 * own), (256, 512)]
    return [(side, side) for side in squares], list(dict.fromkeys(oblongs))


def first_that_works(model: str, sizes: list[tuple[int, int]], **options: Any) -> tuple[tuple[int, int], str]:
    """The first size of a list that a model takes, and what :func:`attempt` returns; raises as it for the first."""
    refusals = []
    for size in sizes:
        try:
            return size, attempt(model, size, **options)
        except ModelError as error:
            refusals.append(error)
    raise refusals[0]


def walk(model: str) -> tuple[str, dict[str, str], list[str]]:
    """Try a model in every column of the table: the size of its pictures, its cells, and the reasons of refusals."""
    squares, oblongs = sizes_of(model)
    cells, reasons = dict.fromkeys(COLUMNS, "no"), []
    try:
        size, cells["slots"] = first_that_works(model, squares)
    except ModelError as error:
        size, reasons = squares[0], [f"slots: {error}"]
    tries: dict[str, tuple[list[tuple[int, int]], dict[str, Any]]] = {
        "plain": ([size], {"use_slot": False}),
        "out_stage": ([size], {"out_stage": 2}),
        "plain, out_stage": ([size], {"use_slot": False, "out_stage": 2}),
        "non-square": (oblongs, {}),
        "freeze": ([size], {"freeze_stages": 1}),
    }
    for column, (sizes, options) in tries.items():
        try:
            taken, cell = first_that_works(model, sizes, **options)
            cells[column] = f"{cell} of {taken[0]}x{taken[1]}" if column == "non-square" else cell
        except ModelError as error:
            reasons.append(f"{column}: {error}")
    cells["freeze"] = "yes" if cells["freeze"] != "no" else "no"
    return f"{size[0]}x{size[1]}", cells, reasons


def row(module: str, model: str) -> str:
    """Row of the table for a module."""
    if (count := parameters(model)) > MAX_PARAMETERS:
        return f"| {module} | `{model}` | -{' | -' * len(COLUMNS)} | not tried: {count / 1e6:.0f} million parameters |"
    size, cells, reasons = walk(model)
    why = "; ".join(reasons).replace("|", "/")
    return f"| {module} | `{model}` | {size} | {' | '.join(cells[column] for column in COLUMNS)} | {why} |"


def rows_of_page() -> dict[str, str]:
    """Rows of the table in docs/backbones.md, by module."""
    table = PAGE.read_text().split(START)[1].split(END)[0]
    return {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}


def model_of(line: str) -> str:
    """Name of the model in a row."""
    found = re.search(r"`([^`]+)`", line)
    assert found, line
    return found[1]


def main() -> None:
    """Walk the modules that are named, by default all, and write their rows into the page."""
    logging.disable(logging.WARNING)
    modules, chosen = timm.list_modules(), parse_args().modules
    if unknown := [name for name in chosen if name not in modules]:
        near = difflib.get_close_matches(unknown[0], modules, n=1)
        raise ToolError(f"{unknown[0]}: timm has no such module" + (f"; did you mean {near[0]}?" if near else ""))
    for module in chosen or modules:
        rows = rows_of_page()
        rows[module] = row(module, model_of(rows[module]) if module in rows else smallest(module))
        print(rows[module], flush=True)
        before, rest = PAGE.read_text().split(START)
        table = "\n".join([HEADER, *(rows[name] for name in modules if name in rows)])
        PAGE.write_text(f"{before}{START}{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    finish(run_script(main, "backbones", (ModelError,)))

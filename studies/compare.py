"""Put the explanation metrics of several runs into one table: ``python -m studies.compare FOLDER ...``."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("compare")  # before anything else is imported

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.discovery import examples_text
from tools.flags import Parser

EXAMPLES = (
    ("print one table of two runs", "runs/paper runs/direct"),
    ("write it, too", "runs/paper runs/direct --output_dir runs/compared"),
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the flags; an invalid one exits with one line and code 2."""
    parser = Parser(
        prog="python -m studies.compare",
        description="Put the explanation metrics of several runs into one table.",
        allow_abbrev=False,
    )
    parser.add_argument("tables", nargs="+", metavar="FOLDER", help="folder with a metrics.json, or that file")
    parser.add_argument("--output_dir", metavar="DIR", help="folder for the common metrics.json, .csv and .png")
    parser.examples = examples_text(EXAMPLES, parser.prog)
    return parser.parse_args(argv)


if __name__ == "__main__":
    parse_args()  # before the heavy imports, so that --help and flag errors are immediate

from engine.explain.table import check_table, key_of, metric_tables, read_metrics, write_table
from tools import ToolError
from tools.console import format_table, run_script, say, set_up_console
from tools.ending import finish
from tools.files import writable_folder
from tools.provenance import mixed

logger = logging.getLogger("compare")


def main() -> None:
    """Read the tables, merge their rows into one table, print and write it."""
    args = parse_args()
    set_up_console("compare")
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for path in map(Path, args.tables):
        folder = path if path.is_dir() else path.parent
        if args.output_dir and folder.resolve() == Path(args.output_dir).resolve():
            raise ToolError(f"--output_dir {args.output_dir} holds one of the tables: give another folder")
        for row in read_metrics(path):
            # Checkpoints of different folders have the same names, so the path becomes part of the name.
            origin = os.path.relpath(folder, args.output_dir) if args.output_dir else str(folder)
            row = {**row, "checkpoint": str(Path(origin) / str(row.get("checkpoint", "")))}
            rows[key_of(row)] = row
    if not rows:
        raise ToolError(f"{', '.join(args.tables)}: no rows; test.py --explain_metrics true writes some")
    for title, cells in metric_tables([*rows.values()]).items():
        apart = len({(row.get("data"), row["method"]) for row in cells}) == len(cells)  # without the long names
        shown = [{k: v for k, v in row.items() if k != "checkpoint"} for row in cells] if apart else cells
        say("\n".join(filter(None, [title, format_table(shown)])), several=True)
    for fault in mixed([*rows.values()]):
        logger.warning(fault)
    if args.output_dir:
        folder = writable_folder(args.output_dir)
        check_table(folder)
        write_table(folder, [*rows.values()])
        say(f"saved: {folder / 'metrics.json'}, metrics.csv and metrics.png beside it")


if __name__ == "__main__":
    finish(run_script(main, "compare", ()))

"""One table of explanation scores out of several: ``python -m tools.compare RUN_FOLDER ... --output_dir DIR``."""

import os
from pathlib import Path
from typing import Any

from args import parse_compare_args

if __name__ == "__main__":
    parse_compare_args()  # before the heavy imports

from tools import ToolError
from tools.checkpoint import writable_folder
from tools.console import run_script
from tools.ending import finish
from tools.logger import format_table, say, set_up_console
from tools.metric_table import key_of, read_metrics, score_rows, write_table


def main() -> None:
    args = parse_compare_args()
    set_up_console("compare")
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for path in map(Path, args.tables):
        folder = path if path.is_dir() else path.parent
        if args.output_dir and folder.resolve() == Path(args.output_dir).resolve():
            raise ToolError(f"--output_dir {args.output_dir} holds one of the tables: give another folder")
        for row in read_metrics(path):
            # Checkpoints of different folders have the same names: the folder tells them apart.
            place = os.path.relpath(folder, args.output_dir) if args.output_dir else str(folder)
            row = {**row, "checkpoint": str(Path(place) / str(row.get("checkpoint", "")))}
            rows[key_of(row)] = row
    if not rows:
        raise ToolError(f"there are no rows in {', '.join(args.tables)}")
    say(format_table([{k: v for k, v in row.items() if k != "checkpoint"} for row in score_rows([*rows.values()])]))
    if args.output_dir:
        folder = writable_folder(args.output_dir)
        write_table(folder, [*rows.values()])
        say(f"saved: {folder / 'metrics.json'}, metrics.csv and metrics.png beside it")


if __name__ == "__main__":
    finish(run_script(main, "compare", ()))

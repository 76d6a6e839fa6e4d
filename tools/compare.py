"""One table of explanation scores out of several: ``python -m tools.compare RUN_FOLDER ... --output_dir DIR``."""

import os
import sys
from pathlib import Path

from args import parse_compare_args

if __name__ == "__main__":
    parse_compare_args()  # before the heavy imports

from tools.checkpoint import writable_folder
from tools.console import run_script
from tools.logger import format_table, say, set_up_console
from tools.metric_table import read_metrics, score_rows, write_table


def main() -> None:
    args = parse_compare_args()
    set_up_console("compare")
    rows = []
    for path in map(Path, args.tables):
        folder = path if path.is_dir() else path.parent
        for row in read_metrics(path):
            # Checkpoints of different folders have the same names: the folder tells them apart.
            place = os.path.relpath(folder, args.output_dir) if args.output_dir else str(folder)
            rows.append({**row, "checkpoint": str(Path(place) / str(row.get("checkpoint", "")))})
    say(format_table([{k: v for k, v in row.items() if k != "checkpoint"} for row in score_rows(rows)]))
    if args.output_dir:
        folder = writable_folder(args.output_dir)
        write_table(folder, rows)
        say(f"saved: {folder / 'metrics.json'}, metrics.csv and metrics.png beside it")


if __name__ == "__main__":
    sys.exit(run_script(main, "compare", ()))

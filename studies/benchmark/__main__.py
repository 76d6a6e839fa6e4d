"""Measure the speed of parts of the program: ``python -m studies.benchmark [part ...]``."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("benchmark")  # before anything else is imported

import json
from pathlib import Path
from typing import Any

from args import expand_runs
from studies.benchmark.flags import DEFAULT_PARTS, parse_args

if __name__ == "__main__":
    parse_args()  # before the heavy imports, so that --help and flag errors are immediate

from dataset import DataError
from sloter import ModelError
from studies.benchmark import (
    augment,
    compilation,
    cores,
    data,
    drawing,
    evaluation,
    explain,
    head,
    memory,
    metrics,
    report_page,
    scale,
    start,
    steps,
)
from studies.machine import machine
from tools.console import format_table, run_script, say, set_up_console
from tools.cores import divide_cores
from tools.ending import finish
from tools.files import check_outputs, has_keys, keep_foreign, writable_folder, write_atomically
from tools.machine import keep_freed_memory, pick_device, set_numerics

PARTS = {
    "head": head.measure,
    "data": data.measure,
    "augment": augment.measure,
    "train": steps.measure_train,
    "infer": steps.measure_infer,
    "memory": memory.measure,
    "explain": explain.measure,
    "draw": drawing.measure,
    "scale": scale.measure,
    "cores": cores.measure,
    "start": start.measure,
    "evaluate": evaluation.measure,
    "report": report_page.measure,
    "metrics": metrics.measure,
    "compile": compilation.measure,
}


def main() -> None:
    """Measure the parts, print their tables and write them to a file."""
    args = parse_args()
    set_up_console("benchmark")
    files = [Path(file) for file in (args.json, args.trace) if file]
    for file in files:
        writable_folder(file.parent)
    check_outputs(*files)
    device = pick_device(args.device)
    if device.type == "cpu":
        keep_freed_memory()
    args.num_workers = divide_cores(args.num_workers, device).workers
    set_numerics(device, tf32=args.tf32, deterministic=args.deterministic)
    run = expand_runs(args)[0]
    where = machine(device)
    say("; ".join(f"{key} {value}" for key, value in where.items()))
    tables: dict[str, list[dict[str, Any]]] = {}
    for part in dict.fromkeys(args.parts or DEFAULT_PARTS):
        tables[part] = PARTS[part](run, device)
        say(format_table(tables[part]), several=True)
    if args.json:
        keep_foreign(Path(args.json), has_keys("machine"))
        write_atomically(Path(args.json), (json.dumps({"machine": where, **tables}, indent=2) + "\n").encode())
        say(f"saved: {args.json}")


if __name__ == "__main__":
    finish(run_script(main, "benchmark", (ModelError, DataError)))

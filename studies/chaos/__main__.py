"""Start the scripts many times with random damage, and list what fell short: ``python -m studies.chaos``."""

# PYTHON_ARGCOMPLETE_OK: a shell may start this file to complete a command line
from tools.stop_signals import end_on_stop_signals

if __name__ == "__main__":
    end_on_stop_signals("chaos")  # before anything else is imported

import argparse
import json
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tools.discovery import examples_text
from tools.flags import Formatter, Parser, numbers, real, whole

EXAMPLES = (("a hundred starts", ""), ("two of them again", "--only 7,31"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read and check the flags; an invalid one exits with one line and code 2."""
    parser = build_parser()
    return parser.parse_args(argv)


def build_parser() -> Parser:
    """The parser of ``python -m studies.chaos``."""
    parser = Parser(
        prog="python -m studies.chaos",
        description="Start the scripts many times with random damage, and list what fell short.",
        allow_abbrev=False,
        formatter_class=Formatter,
    )
    add = parser.add_argument_group("plan").add_argument
    add("--starts", **whole(100, low=1, high=10_000), help="number of starts")
    add("--seed", **whole(0, low=0), help="seed of the damage")
    add(
        "--only", type=numbers, metavar="N[,N|-N...]", help="make these starts of the plan only; others keep their rows"
    )
    add = parser.add_argument_group("limits").add_argument
    add("--seconds", **real(10.0, above=0), help="bound between a signal or an error line and the end of all processes")
    add("--limit", **real(90.0, above=0), help="seconds after which a start is killed, and counts as hung")
    add = parser.add_argument_group("files").add_argument
    add("--output_dir", default="saved_model/chaos", metavar="DIR",
        help="folder for chaos.json and the scene of each start that fell short")  # fmt: skip
    parser.examples = examples_text(EXAMPLES, parser.prog)
    return parser


if __name__ == "__main__":
    parse_args()  # before the heavy imports, so that --help and flag errors are immediate

import shutil

from studies.chaos.plan import KINDS, Planned, plan
from studies.chaos.run import run
from studies.chaos.scene import REFUSED, Scene, Start, copy_scene, write_pictures
from studies.chaos.verdict import damaged_files, faults_of, files_of, messages
from tools import ToolError
from tools.console import run_script, say, set_up_console
from tools.ending import finish
from tools.files import read_json, writable_folder, write_atomically

LINE = "{number:>4}  {script:<12}  {damage:<48.48}  {code:>4}  {seconds:>5.1f}  {verdict:<5}  {line:.100}"


def main() -> None:
    """Prepare a scene, make the starts of the plan, print and write a row for each."""
    args = parse_args()
    set_up_console("chaos")
    folder = writable_folder(args.output_dir).resolve()
    prepared, file = prepare(folder / "prepared", limit=args.limit), folder / "chaos.json"
    planned = plan(args.starts, args.seed)
    of_plan = {"starts": args.starts, "seed": args.seed}
    before = (read_json(file) if args.only and file.is_file() else None) or {}
    kept = before.get("rows", []) if {name: before.get(name) for name in of_plan} == of_plan else []
    rows: dict[int, dict[str, Any]] = {row["number"]: row for row in kept}
    for one in planned:
        if args.only is None or one.number in args.only:
            rows[one.number] = row = make(one, prepared, folder, seconds=args.seconds, limit=args.limit)
            say(LINE.format(**row | {"verdict": "short" if row["faults"] else "right"}))
            for fault in row["faults"]:
                say(f"      {fault}")
            content = {**of_plan, "rows": [rows[number] for number in sorted(rows)]}
            write_atomically(file, json.dumps(content, indent=1).encode())
    say(summary([*rows.values()]), several=True)
    if any(row["faults"] for row in rows.values()):
        finish(1)


def prepare(folder: Path, *, limit: float) -> Path:
    """Write the dataset and train both classifiers, unless an earlier run has."""
    if (folder / "done").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    scene = Scene(folder, Random(0))
    write_pictures(scene.data)
    for kind in ("true", "false"):
        ended = run(scene.train("--output_dir", scene.out, "--use_slot", kind), limit=limit)
        if ended.code:
            raise ToolError(f"the undamaged training ended with exit code {ended.code}: {ended.err}")
    (folder / "done").touch()
    return folder


def make(one: Planned, prepared: Path, folder: Path, *, seconds: float, limit: float) -> dict[str, Any]:
    """Make a start of the plan, and those that follow it; returns its row. The scene of a right one is removed."""
    scene = copy_scene(prepared, folder / f"start{one.number}", Random(one.seed))
    row = {**one._asdict(), "damage": f"{one.kind}: {one.damage}", "faults": [], "seconds": 0.0, "commands": []}
    start: Start | None = KINDS[one.kind][one.damage](scene)
    while start and not row["faults"]:
        before = files_of(scene.folder)
        ended = run(start, limit=limit)
        killed = ended.hung or ended.code == -signal.SIGKILL
        lost = damaged_files(before, scene.folder, killed=killed, refused=ended.code == REFUSED)
        row["faults"] += faults_of(start, ended, seconds=seconds) + lost
        row["commands"].append([word.encode(errors="backslashreplace").decode() for word in start.command()[1:]])
        last = next(iter(messages(ended.err)[-1:]), "").replace(f"{scene.folder}/", "")
        row |= {"script": f"{start.script}.py", "code": ended.code, "since_shown": round(ended.since_shown, 2),
                "seconds": round(row["seconds"] + ended.seconds, 2), "line": last}  # fmt: skip
        if row["faults"]:
            row["err"] = ended.err[-4000:]
        start = start.then
    if not row["faults"]:
        shutil.rmtree(scene.folder, ignore_errors=True)
    return row


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Number of starts, exit codes, seconds, and what fell short."""
    short = [row for row in rows if row["faults"]]
    codes = ", ".join(f"{count} with {code}" for code, count in sorted(Counter(row["code"] for row in rows).items()))
    slowest = max((row["since_shown"] for row in rows), default=0.0)
    total = sum(row["seconds"] for row in rows) / 60
    lines = [f"{len(rows)} starts, {len(short)} fell short; exit codes: {codes}; at most {slowest:.1f} s from a signal "
             f"or an error line to the end; {total:.1f} minutes"]  # fmt: skip
    return "\n".join([*lines, *(f"  {row['number']} {row['damage']}: {'; '.join(row['faults'])}" for row in short)])


if __name__ == "__main__":
    finish(run_script(main, "chaos", ()))

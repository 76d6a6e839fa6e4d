"""Flags that print what there is to choose from, and what a command line means, and end the script."""

import argparse
import fnmatch
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.flags import ROOT, Parser
from tools.text import visible

RECIPES = ROOT / "recipes"
EXAMPLES = {
    "train": (
        ("a first model of digits that ship with the project", "@recipes/quickstart.txt"),
        ("your own pictures, a folder per class", "@recipes/folder.txt --dataset_dir photos --output_dir runs/photos"),
        ("the same after an interruption",
         "@recipes/folder.txt --dataset_dir photos --output_dir runs/photos --resume auto"),
        ("a run for each of two values", "@recipes/quickstart.txt --lambda_value 1,10 --output_dir runs/lambda"),
    ),
    "test": (
        ("evaluate, and draw ten pictures", "--checkpoint runs/photos/Folder_use_slot_checkpoint.pth --vis true "
                                            "--vis_id 0-9"),
        ("explain pictures of your own", "--checkpoint runs/photos/Folder_use_slot_checkpoint.pth --image new.jpg"),
        ("why its class and not another", "--checkpoint runs/photos/Folder_use_slot_checkpoint.pth --image new.jpg "
                                          "--versus cat"),
        ("a table of predictions for a folder without labels",
         "--checkpoint runs/photos/Folder_use_slot_checkpoint.pth --predict new_photos"),
    ),
    "torchcam_vis": (
        ("maps of two methods for a plain classifier",
         "--checkpoint runs/photos/Folder_no_slot_checkpoint.pth --methods GradCAM,ScoreCAM --vis_id 0-9"),
    ),
    "demo": (
        ("a page for the digits model that ships with the project", ""),
        ("a page for your own model", "--checkpoint runs/photos/Folder_use_slot_checkpoint.pth"),
    ),
}  # fmt: skip


def discovery_flags(add: Callable[..., Any]) -> None:
    """Add the flags that only print."""
    add(
        "--list_models",
        action=Printed,
        text=models_text,
        nargs="?",
        const="*",
        metavar="PATTERN",
        help="print the names of timm that --model takes, such as '*lite*'; * marks those with pretrained weights",
    )
    add(
        "--list_recipes",
        action=Printed,
        text=recipes_text,
        nargs=0,
        help="print the recipes, what each is for and what it needs",
    )
    add("--print_config", action="store_true", default=argparse.SUPPRESS,
        help="print the value of every flag, and whether it is the default, of a recipe or of the command line; the "
             "text is an argument file of the same run")  # fmt: skip


class Printed(argparse.Action):
    """Flag that prints a text and ends the script.

    Args:
        text: gives the text for the value of the flag.
    """

    def __init__(
        self, option_strings: Sequence[str], dest: str, *, text: Callable[[Any], str], **options: Any
    ) -> None:  # fmt: skip
        super().__init__(option_strings, argparse.SUPPRESS, default=argparse.SUPPRESS, **options)
        self.text = text

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Print the text; a pattern that nothing fits is an error."""
        try:
            text = self.text(values)
        except ValueError as error:
            parser.error(f"argument {option_string}: {error}")
        parser.print_and_exit(text)


def examples_text(examples: Sequence[tuple[str, str]], command: str) -> str:
    """End of a help text: what each example is for, and the command with its flags; empty without examples."""
    lines = [f"  # {what}\n  {f'{command} {words}'.rstrip()}" for what, words in examples]
    return "\n".join(["", "examples:", *lines, ""]) if lines else ""


def models_text(pattern: str) -> str:
    """Names of timm's models that fit a pattern, one a line, those with pretrained weights marked by a star.

    Raises:
        ValueError: there are none.
    """
    import timm  # takes seconds, which no other flag needs

    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    names = [name for name in timm.list_models() if fnmatch.fnmatchcase(name, wanted)]
    if not names:
        raise ValueError(f"no model of timm has a name like '{pattern}'")
    trained = {name.partition(".")[0] for name in timm.list_pretrained()}
    count = sum(name in trained for name in names)
    lines = [f"{'*' if name in trained else ' '} {name}" for name in names]
    return "\n".join([*lines, f"{len(names)} models, {count} with pretrained weights (*)"])


def recipes_text(_: Any = None) -> str:
    """The recipes: the argument, the first comment line, and what the recipe needs."""
    rows = []
    for path in sorted(RECIPES.glob("*.txt")):
        first = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
        rows.append(f"@recipes/{path.name}\n    {first}\n    needs: {needs(path)}")
    return "\n".join(rows)


def needs(path: Path) -> str:
    """What must be there before a recipe can run, from its flags."""
    words = recipe_words(path)
    given = {word: following for word, following in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}
    found = []
    if "--dataset" not in given:
        found.append("flags that choose the data, such as --dataset Folder --dataset_dir DIR")
    elif given["--dataset"] in ("MNIST", "FashionMNIST", "KMNIST"):
        found.append(f"{given['--dataset']}, downloaded if it is missing")
    elif given["--dataset"] != "MNIST5k":
        folder = given.get("--dataset_dir")
        found.append(f"{given['--dataset']} in {folder}" if folder else f"--dataset_dir DIR, the data of "
                                                                         f"{given['--dataset']}")  # fmt: skip
    if path.stem.endswith(("_test", "_torchcam")):
        found.append("the checkpoint of its training")
    elif given.get("--use_pre") == "true":
        found.append(f"the plain classifier of {path.stem.partition('_')[0]}_fc.txt")
    elif "--model" in given and given.get("--pre_trained", "true") == "true":
        found.append(f"the weights of {given['--model']}, downloaded once")
    return "; ".join(found) or "nothing"


def recipe_words(path: Path) -> list[str]:
    """Words of an argument file, with those of the recipes that it names."""
    parser = Parser(fromfile_prefix_chars="@", add_help=False)
    return parser._read_args_from_files([f"@{path}"])


def config_text(parser: Parser, argv: Sequence[str], values: argparse.Namespace) -> str:
    """Value and origin of every flag, as an argument file: what is not given is a comment.

    Args:
        parser: the parser that read the command line.
        argv: the command line.
        values: what it read.
    """
    origins = _origins(parser, argv)
    lines = []
    for group in parser._action_groups[2:]:
        lines.append(f"# {group.title}")
        for action in group._group_actions:
            if isinstance(action, Printed) or action.dest == "print_config":
                continue
            value, origin = getattr(values, action.dest), origins.get(action.dest)
            line = f"--{action.dest} {_written(action.dest, value)}" if value is not None else f"--{action.dest}"
            if origin and value is not None:
                lines.append(f"{line}  # {origin}")
            else:
                lines.append(f"# {line}  ({origin or 'default'}{': none' * (value is None)})")
    return "\n".join(lines)


def _origins(parser: Parser, argv: Sequence[str]) -> dict[str, str]:
    """Where each given flag has its value from; the last place counts."""
    origins = {}
    for word in argv:
        is_file = word.startswith("@")
        for part in parser._read_args_from_files([word]) if is_file else [word]:
            if action := parser._option_string_actions.get(part.partition("=")[0]):
                origins[action.dest] = word if is_file else "command line"
    return origins


def _written(name: str, value: Any) -> str:
    """Value of a flag as it is written in an argument file."""
    if isinstance(value, list):  # --image takes several words
        return shlex.join(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return shlex.quote(("x" if name == "img_size" else ",").join(map(str, value)))
    return shlex.quote(visible(str(value)))

"""A command-line parser whose errors are one line, and the types of its flags. Imports nothing heavy."""

import argparse
import difflib
import os
import re
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

# Seconds in which the first of several processes, which all find the same flag wrong, says so before the others end.
ERROR_TIME = 5.0
MAX_PICTURES_IN_A_RANGE = 10_000
ROOT = Path(__file__).parents[1]


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line, and an argument file may have comments and several flags per line.

    Attributes:
        hints: one line for each flag that was given under an old name.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.hints: list[str] = []

    def error(self, message: str) -> NoReturn:
        """Print the message as one line and exit with code 2."""
        if int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))):
            time.sleep(ERROR_TIME)
            self.exit(2)
        if file := re.fullmatch(r"\[Errno \d+\] (.*): '(.*)'", message):
            self.exit(2, f"{self.prog}: error: the argument file {file[2]} cannot be read: {file[1]}\n")
        if unknown := re.match(r"unrecognized arguments: (--\w+)", message):
            near = difflib.get_close_matches(unknown[1], self._option_string_actions, n=1)
            message += f": did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")

    def read(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse, with errors of argument files as one line too."""
        try:
            return self.parse_args(argv)
        except UnicodeDecodeError:
            self.error("an argument file is not text in UTF-8")
        except RecursionError:
            self.error("an argument file names itself, directly or through another one")

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """The words of a line of an argument file; another recipe is also found from the project's folder."""
        try:
            words = shlex.split(arg_line, comments=True)
        except ValueError as error:
            self.error(f"the line '{arg_line}' of an argument file: {str(error).lower()}")
        return [f"@{ROOT / word[1:]}" if _is_our_recipe(word) else word for word in words]


def _is_our_recipe(word: str) -> bool:
    return word.startswith("@") and not Path(word[1:]).exists() and (ROOT / word[1:]).is_file()


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except for flags without one: their help says what happens without them."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Renamed(argparse.Action):
    """The old name of a flag: sets the new one, and leaves a hint in the parser.

    Args:
        new: the flag as it is now called.
        convert: the old text to the value of the new flag; None if only the name has changed.
    """

    def __init__(
        self, option_strings: Sequence[str], dest: str, *, new: str, convert: Callable[[str], Any], **options: Any
    ) -> None:
        super().__init__(option_strings, new, default=argparse.SUPPRESS, help=argparse.SUPPRESS, type=convert)
        self.new = new

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Set the new flag."""
        setattr(namespace, self.new, values)
        parser.hints.append(f"{option_string} is now --{self.new} {values}")


def boolean(text: str) -> bool:
    """true/false/yes/no/1/0, in any case."""
    value = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false (true/false/yes/no/1/0)")
    return value


def number(
    kind: type, *, low: float | None = None, above: float | None = None, high: float | None = None,
    below: float | None = None, multiple_of: int | None = None,
) -> Callable[[str], Any]:  # fmt: skip
    """An int or float within bounds; ``above`` and ``below`` are not valid themselves."""
    what = "a whole number" if kind is int else "a number"

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not {what}") from None
        if low is not None and not low <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not {what} of at least {low:g}")
        if above is not None and not above < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not {what} above {above:g}")
        if high is not None and not value <= high:
            raise argparse.ArgumentTypeError(f"{value} is above {high:g}, the largest value allowed")
        if below is not None and not value < below:
            raise argparse.ArgumentTypeError(f"{text} is not {what} below {below:g}")
        if multiple_of is not None and value % multiple_of:
            raise argparse.ArgumentTypeError(f"{text} is not a multiple of {multiple_of}")
        return value

    return parse


def comma_list(item: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Values separated by commas, such as ``1,3,10``."""
    return lambda text: tuple(item(part.strip()) for part in text.split(","))


def one_of(*names: str) -> Callable[[str], str]:
    """One of some names, for lists of them."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(names)}")
        return text

    return parse


def size(text: str) -> tuple[int, int]:
    """``260`` or ``192x256`` (height x width)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match or "0" in (match[1], match[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size in pixels (260, or 192x256 for height x width)")
    return int(match[1]), int(match[2] or match[1])


def numbers(text: str) -> tuple[int, ...]:
    """``0``, ``0,4,7`` or ``0-9`` and mixtures."""
    chosen: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers and ranges (0, or 0,4,7, or 0-9)")
        if int(match[2] or match[1]) - int(match[1]) >= MAX_PICTURES_IN_A_RANGE:
            raise argparse.ArgumentTypeError(f"'{text}' are more than {MAX_PICTURES_IN_A_RANGE} pictures at once")
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(chosen)


def resume(text: str) -> str | None:
    """``auto`` (also true), a file, or false."""
    if text.lower() in ("false", "no", "0", ""):
        return None
    return "auto" if text.lower() in ("true", "yes", "1", "auto") else text


def whole(default: int | None, *, metavar: str = "N", **bounds: Any) -> dict[str, Any]:
    """Keywords of ``add_argument`` for a whole number."""
    return {"type": number(int, **bounds), "default": default, "metavar": metavar}


def real(default: float | None, *, metavar: str = "X", **bounds: Any) -> dict[str, Any]:
    """Keywords of ``add_argument`` for a number."""
    return {"type": number(float, **bounds), "default": default, "metavar": metavar}


def switch(default: bool) -> dict[str, Any]:
    """Keywords of ``add_argument`` for a flag that is true or false."""
    return {"type": boolean, "default": default, "metavar": "BOOL"}


def of_field(field: Any) -> dict[str, Any]:
    """Keywords of ``add_argument`` for a field of a configuration, made by ``sloter.config.option``."""
    about = field.metadata
    if about["choices"]:
        return {"type": field.type, "choices": about["choices"], "default": field.default, "help": about["help"]}
    kind = boolean if field.type is bool else number(field.type, **about["rules"])
    metavar = "BOOL" if field.type is bool else about["metavar"] or "X"
    return {"type": kind, "default": field.default, "metavar": metavar, "help": about["help"]}

"""Command-line parser with one-line errors, and the types of its flags; imports nothing heavy."""

import argparse
import contextlib
import difflib
import os
import re
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tools.completion import complete
from tools.text import visible

# All processes of a run find the same flag error: rank 0 prints it, and the others end this much later.
SECONDS_FOR_RANK_0 = 5.0
MAX_PICTURES_IN_A_RANGE = 10_000
MAX_PICTURE_NUMBER = 10**9
MAX_SIDE = 16_384  # pixels
MAX_WHOLE = 10**6  # of an int flag that has no other bound
ESCAPE = "" if os.name == "nt" else "\\"  # in an argument file; on Windows a backslash separates folders
ROOT = Path(__file__).parents[1]


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, and with argument files that take several flags per line and comments.

    Attributes:
        hints: a line for each flag that was given under its old name.
        examples: command lines, printed at the end of the help.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.hints: list[str] = []
        self.examples = ""

    def error(self, message: str) -> NoReturn:
        """Print the message as one line and exit with code 2."""
        message = visible(message)
        if _rank():
            time.sleep(SECONDS_FOR_RANK_0)
            self.exit(2)
        if file := re.fullmatch(r"\[Errno \d+\] (.*): '(.*)'", message):
            self.exit(2, f"{self.prog}: error: the argument file {file[2]} cannot be read: {file[1]}\n")
        if unknown := re.match(r"unrecognized arguments: (--\w+)", message):
            near = difflib.get_close_matches(unknown[1], self._option_string_actions, n=1)
            message += f": did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")

    def print_and_exit(self, text: str) -> NoReturn:
        """Print a text, from rank 0 alone, and end the script; a reader such as ``head`` may have left."""
        with contextlib.suppress(BrokenPipeError):
            if not _rank():
                print(text, flush=True)
            self.exit(0)
        os._exit(0)

    def format_help(self) -> str:
        """The help, with the examples at its end."""
        return super().format_help() + self.examples

    def _read_args_from_files(self, arg_strings: list[str]) -> list[str]:
        """Expand argument files; a pipe or a device is none, since it may have no end."""
        for word in arg_strings:
            path = Path(word[1:])
            if word.startswith("@") and path.exists() and not path.is_file():
                self.error(f"the argument file {path} cannot be read: it is not a file")
        return super()._read_args_from_files(arg_strings)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the command line, or complete the one that a shell asks about."""
        complete(self)
        return super().parse_args(args, namespace)

    def read(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse the command line; errors of argument files are one line, too."""
        try:
            return self.parse_args(argv)
        except UnicodeDecodeError:
            self.error("an argument file is not text in UTF-8")
        except RecursionError:
            self.error("an argument file names itself, directly or through another one")

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Words of a line of an argument file; the path of a recipe may be relative to the project's folder."""
        reader = shlex.shlex(without_comment(arg_line.removeprefix("\ufeff")), posix=True)  # a mark of Windows' editors
        reader.whitespace_split, reader.escape, reader.commenters = True, ESCAPE, ""
        try:
            words = [*reader]
        except ValueError as error:
            self.error(f"the line '{arg_line}' of an argument file cannot be read: {str(error).lower()}")
        return [f"@{ROOT / word[1:]}" if _is_our_recipe(word) else word for word in words]


def without_comment(line: str) -> str:
    """Cut a line of an argument file at its comment, which as in a shell begins with a # before a word, not within."""
    quote, escaped = "", False
    for place, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == ESCAPE and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place]
    return line


def _rank() -> int:
    """Rank of this process in a launch or a Slurm step; 0 outside one."""
    rank = os.environ.get("RANK") if "WORLD_SIZE" in os.environ else os.environ.get("SLURM_PROCID")
    return int(rank) if rank and rank.isdecimal() else 0


def _is_our_recipe(word: str) -> bool:
    return word.startswith("@") and not Path(word[1:]).exists() and (ROOT / word[1:]).is_file()


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help formatter that shows defaults, except None: the help of such a flag says what happens without it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Renamed(argparse.Action):
    """Old name of a flag, which sets the new one and adds a hint to the parser.

    Args:
        new: the new name.
        convert: parser of the old flag's text, which returns a value of the new flag.
    """

    def __init__(
        self, option_strings: Sequence[str], dest: str, *, new: str, convert: Callable[[str], Any], **options: Any
    ) -> None:
        super().__init__(option_strings, new, default=argparse.SUPPRESS, help=argparse.SUPPRESS, type=convert)
        self.new = new

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Set the new flag and add the hint."""
        setattr(namespace, self.new, values)
        parser.hints.append(f"{option_string} is now --{self.new} {values}")


def boolean(text: str) -> bool:
    """Boolean from true/false/yes/no/1/0, in upper or lower case."""
    value = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false (true/false/yes/no/1/0)")
    return value


def boolean_or(*names: str) -> Callable[[str], bool | str]:
    """Type of a flag that takes a boolean or one of these names."""

    def read(text: str) -> bool | str:
        if text.lower() in names:
            return text.lower()
        try:
            return boolean(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{error}, nor {' or '.join(names)}") from None

    return read


def number(
    kind: type, *, low: float | None = None, above: float | None = None, high: float | None = None,
    below: float | None = None, multiple_of: int | None = None,
) -> Callable[[str], Any]:  # fmt: skip
    """Parser of an int or float within bounds; the values ``above`` and ``below`` themselves are not valid."""
    what = "a whole number" if kind is int else "a number"

    def parse(text: str) -> Any:
        try:
            # Python does not read an int of thousands of digits; the first hundred tell that it is too large.
            value = kind(text[:100] if text.isdigit() else text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not {what}") from None
        if low is not None and not low <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not {what} of at least {low:g}")
        if above is not None and not above < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not {what} above {above:g}")
        if high is not None and not value <= high:
            bound = high if isinstance(high, int) else f"{high:g}"
            raise argparse.ArgumentTypeError(f"{_brief(value)} is above {bound}, the largest value allowed")
        if below is not None and not value < below:
            raise argparse.ArgumentTypeError(f"{text} is not {what} below {below:g}")
        if multiple_of is not None and value % multiple_of:
            raise argparse.ArgumentTypeError(f"{text} is not a multiple of {multiple_of}")
        return value

    return parse


def auto_or(item: Callable[[str], Any]) -> Callable[[str], Any]:
    """Parser of ``auto``, or of a value that ``item`` parses."""

    def parse(text: str) -> Any:
        if text.lower() == "auto":
            return "auto"
        try:
            return item(text)
        except argparse.ArgumentTypeError as error:
            more = "" if re.fullmatch(r"-?\d+", text) else ", nor auto"
            raise argparse.ArgumentTypeError(f"{error}{more}") from None

    return parse


def comma_list(item: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    """Parser of a comma list such as ``1,3,10``; ``item`` parses each value."""
    return lambda text: tuple(item(part.strip()) for part in text.split(","))


def one_of(*names: str) -> Callable[[str], str]:
    """Parser of one of the names, for comma lists of them."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(names)}")
        return text

    return parse


def size(text: str) -> tuple[int, int]:
    """Height and width in pixels from ``260`` or ``192x256``."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match or 0 in map(_int, match.groups("1")):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size in pixels (260, or 192x256 for height x width)")
    if max(map(_int, match.groups("1"))) > MAX_SIDE:
        raise argparse.ArgumentTypeError(f"'{_brief(text)}' is above {MAX_SIDE} pixels, the largest side")
    return int(match[1]), int(match[2] or match[1])


def numbers(text: str) -> tuple[int, ...]:
    """Numbers from ``0``, ``0,4,7``, ``0-9`` or a mixture of these."""
    chosen: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match and _int(match[1]) > MAX_PICTURE_NUMBER:
            raise argparse.ArgumentTypeError(f"{_brief(match[1])} is above {MAX_PICTURE_NUMBER}, the largest number")
        if not match or _int(match[2] or match[1]) < _int(match[1]):
            raise argparse.ArgumentTypeError(f"'{text}' is not a list of numbers or ranges (0, or 0,4,7, or 0-9)")
        if _int(match[2] or match[1]) - _int(match[1]) >= MAX_PICTURES_IN_A_RANGE:
            raise argparse.ArgumentTypeError(f"'{_brief(text)}' names more than {MAX_PICTURES_IN_A_RANGE} pictures")
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(chosen)


def _brief(value: object) -> str:
    """Text of a value, cut to 40 characters."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _int(digits: str) -> int:
    """Number of a text of digits; one of more than 20 digits stands for any number as large, since int has a limit."""
    return int(digits[:20])


def resume(text: str) -> str | None:
    """Value of --resume: ``auto`` (also true), a file, or None (false)."""
    if text.lower() in ("false", "no", "0", ""):
        return None
    return "auto" if text.lower() in ("true", "yes", "1", "auto") else text


def file_or_true(text: str) -> str | bool | None:
    """Value of a flag that takes a file, true for its usual place, or false."""
    try:
        return boolean(text) or None
    except argparse.ArgumentTypeError:
        return text or None


def whole(default: int | None, *, metavar: str = "N", **bounds: Any) -> dict[str, Any]:
    """Keywords of ``add_argument`` for an int flag; bounds as in :func:`number`, ``high`` is MAX_WHOLE by default."""
    return {"type": number(int, **{"high": MAX_WHOLE, **bounds}), "default": default, "metavar": metavar}


def real(default: float | None, *, metavar: str = "X", **bounds: Any) -> dict[str, Any]:
    """Keywords of ``add_argument`` for a float flag; bounds as in :func:`number`."""
    return {"type": number(float, **bounds), "default": default, "metavar": metavar}


def switch(default: bool) -> dict[str, Any]:
    """Keywords of ``add_argument`` for a boolean flag."""
    return {"type": boolean, "default": default, "metavar": "BOOL"}


def of_field(field: Any) -> dict[str, Any]:
    """Keywords of ``add_argument`` for a configuration field that ``sloter.config.option`` declares."""
    about = field.metadata
    if about["choices"]:
        return {"type": field.type, "choices": about["choices"], "default": field.default, "help": about["help"]}
    kind = boolean if field.type is bool else number(field.type, **about["rules"])
    metavar = "BOOL" if field.type is bool else about["metavar"] or "X"
    return {"type": kind, "default": field.default, "metavar": metavar, "help": about["help"]}

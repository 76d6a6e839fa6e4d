"""Completion of flags by the TAB key of bash and zsh, by the optional package argcomplete.

The shell starts a script that has PYTHON_ARGCOMPLETE_OK near its top with the line typed so far in its environment. The
package is imported in such a start alone, so that any other start costs nothing more.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
ASKED = "_ARGCOMPLETE"  # in the environment of a start that is to complete a line
PATHS = ("FILE", "DIR", "FOLDER")  # in the metavar of a flag that takes files or folders
ACTIVATION = 'eval "$(activate-global-python-argcomplete --dest=-)"'  # for the shell in which it is typed
MISSING = "completion needs argcomplete: pip install argcomplete"


def complete(parser: argparse.ArgumentParser) -> None:
    """Print what may follow on the line that the shell has sent, and end the script; return in any other start."""
    if ASKED in os.environ:
        _complete(parser)


def _complete(parser: argparse.ArgumentParser) -> NoReturn:
    """Print the completions.

    The script ends without argcomplete, too: the shell gives it no flags, and it would run with the default ones.
    """
    with contextlib.suppress(ImportError):
        from argcomplete import CompletionFinder
        from argcomplete.completers import FilesCompleter

        class Finder(CompletionFinder):
            """Completions of flags and values, and of argument files after an @."""

            def collect_completions(self, active_parsers: Any, parsed_args: Any, cword_prefix: str) -> list[str]:
                if cword_prefix.startswith("@"):
                    files = (f"@{name}" for name in FilesCompleter()(cword_prefix[1:]))
                    return [name for name in (*recipes(), *files) if name.startswith(cword_prefix)]
                return super().collect_completions(active_parsers, parsed_args, cword_prefix)

            def quote_completions(self, completions: list[str], *place: Any) -> list[str]:
                if completions and completions[0].startswith("@"):
                    return completions  # bash breaks words at an @, but not at the one that begins a word
                return super().quote_completions(completions, *place)

        for action in parser._actions:
            if not action.choices:
                action.completer = completer(action)  # type: ignore[attr-defined]
        Finder()(parser, always_complete_options=False)
    print(f"{parser.prog}: error: {MISSING}", file=sys.stderr, flush=True)
    os._exit(2)


def completer(action: argparse.Action) -> Any:
    """Completer of the values of a flag without choices: true and false, files, or nothing."""
    from argcomplete.completers import FilesCompleter

    metavar = str(action.metavar or "")
    if "BOOL" in metavar:
        return lambda **_: ("true", "false")
    return FilesCompleter() if any(path in metavar for path in PATHS) else lambda **_: ()


def recipes() -> Iterator[str]:
    """The recipes as arguments, which scripts take in any folder."""
    return (f"@recipes/{path.name}" for path in sorted((ROOT / "recipes").glob("*.txt")))

"""What the README promises is what is there."""

import argparse
import re
from pathlib import Path

from args import build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def flag_table() -> str:
    """The README's table of flags; if the test fails, paste what this returns."""
    lines = []
    for group in build_parser("train")._action_groups[2:]:
        lines += ["", f"**{group.title}**", "", "| flag | default | meaning |", "|---|---|---|"]
        for action in group._group_actions:
            default = "" if action.default is None else f"`{str(action.default).replace('True', 'true')}`"
            default = default.replace("False", "false")
            lines.append(f"| `{action.option_strings[0]}` | {default} | {action.help} |")
    return "\n".join(lines) + "\n"


def test_every_flag_is_in_the_table():
    assert flag_table() in README


def test_every_flag_of_the_readmes_commands_is_known():
    flags = {option for action in build_parser("train")._actions for option in action.option_strings}
    for command in re.findall(r"^(?:python|torchrun) .*(?:train|test)\.py .*$", README, re.M):
        own = command.partition(".py ")[2]
        assert set(re.findall(r"(?<!\S)--\w+", own)) <= flags, command


def test_its_files_and_pictures_are_there():
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\b(\w+\.py)\b", README):
        assert list(ROOT.rglob(name)), name


def test_every_module_is_in_the_file_map():
    file_map = README.partition("## Files")[2]
    for package in ("sloter", "dataset", "engine", "tools"):
        for module in (ROOT / package).glob("*.py"):
            assert module.stem in file_map or module.stem == "__init__", module


def test_the_help_says_what_deviates():
    text = re.sub(r"\s+", " ", build_parser("train").format_help())
    for part in ("the published default, cuda, is an error", "trained with 0.01", "is only compared with it"):
        assert part in text
    assert isinstance(build_parser("test"), argparse.ArgumentParser)


def test_the_commands_of_the_page_on_distribution_have_known_flags():
    page = (ROOT / "docs" / "distributed.md").read_text()
    flags = {option for action in build_parser("train")._actions for option in action.option_strings}
    commands = re.findall(r"^(?:python|torchrun|srun) .*(?:train|test)\.py.*$", page, re.M)
    assert len(commands) >= 6
    for command in commands:
        own = command.partition(".py ")[2]
        assert set(re.findall(r"(?<!\S)--\w+", own)) <= flags, command

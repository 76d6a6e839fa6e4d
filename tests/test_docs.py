"""README and docs name flags, files, sections and commands that exist."""

import ast
import re
from argparse import SUPPRESS
from functools import cache
from pathlib import Path

import pytest

from args import build_parser
from dataset.registry import DATASETS
from engine.demo import flags as demo
from studies.benchmark import flags as benchmark
from studies.chaos import __main__ as chaos
from studies.export import flags as export
from studies.field import flags as field
from studies.head_study import flags as head_study

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()


def flag_table() -> str:
    """The table of flags in docs/training.md, which ``python -c 'from tests.test_docs import *; renew()'`` writes."""
    lines = []
    for group in build_parser("train")._action_groups[2:]:
        lines += [f"**{group.title}**", "", "| flag | default | meaning |", "|---|---|---|"]
        for action in group._group_actions:
            default = "" if action.default in (None, SUPPRESS) else f"`{str(action.default).replace('True', 'true')}`"
            default = default.replace("False", "false")
            lines.append(f"| `{action.option_strings[0]}` | {default} | {action.help} |")
        lines.append("")
    return "\n".join(lines)


def file_map() -> str:
    """The map of modules in docs/files.md, from the first lines of their docstrings."""
    lines = ["| file | what it is |", "|---|---|"]
    first = ("train", "test", "torchcam_vis", "args")
    scripts = [ROOT / f"{name}.py" for name in first]
    scripts += sorted(file for file in ROOT.glob("*.py") if file.stem not in first)
    packages = ("sloter", "dataset", "engine", "tools", "studies")
    for file in [*scripts, *(file for package in packages for file in sorted((ROOT / package).rglob("*.py")))]:
        docstring = ast.get_docstring(ast.parse(file.read_text()))
        lines.append(f"| `{file.relative_to(ROOT)}` | {docstring.splitlines()[0]} |")
    return "\n".join(lines) + "\n"


def renew() -> None:
    """Write the table of flags and the map of files into their pages."""
    for page, mark, text in (("training", "flags", flag_table()), ("files", "files", file_map())):
        file, start, end = ROOT / "docs" / f"{page}.md", f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
        before, rest = file.read_text().split(start)
        file.write_text(before + start + text + end + rest.split(end)[1])


def known_flags(command: str) -> set[str]:
    """Flags of the program that a command runs."""
    if "studies.compare" in command:
        return {"--output_dir"}
    programs = {"studies.chaos": chaos, "studies.export": export, "studies.field": field, "demo.py": demo}
    for name, module in programs.items():
        if name in command:
            return {option for action in module.build_parser()._actions for option in action.option_strings}
    build = benchmark.build_parser if "studies.benchmark" in command else lambda: build_parser("train")
    parser = head_study.build_parser() if "studies.head_study" in command else build()
    return {option for action in parser._actions for option in action.option_strings}


def commands(page: Path) -> list[str]:
    """Command lines of a page that run a program of the project, with continuation lines joined."""
    text = page.read_text().replace("\\\n", " ")
    programs = r"(?:train|test|torchcam_vis|demo)\.py|-m studies\.\w+"
    return re.findall(rf"^(?:\w+=\S+ )*(?:python3?|torchrun|srun) .*(?:{programs}).*$", text, re.M)


def test_the_readme_is_short():
    assert len(README.encode()) <= 12_000


def test_every_flag_is_in_the_table():
    assert flag_table() in (ROOT / "docs" / "training.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_of_the_commands_is_known(page):
    for command in commands(page):
        own = re.split(r"\.py |-m studies\.\w+ ", command)[-1].partition("   # ")[0]
        assert set(re.findall(r"(?<![\S`])--\w+", own)) <= known_flags(command), command


def test_the_commands_are_found():
    counts = {page.name: len(commands(page)) for page in PAGES}
    assert counts["README.md"] >= 2 and counts["studies.md"] >= 10 and counts["distributed.md"] >= 6


@cache
def modules():
    """Names of all modules; looked for once, since an environment in the same folder has thousands more."""
    return {path.name for path in ROOT.rglob("*.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_and_pictures_exist(page):
    text = page.read_text()
    for name in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / name).exists(), name
    if page.name != "CHANGELOG.md":
        assert set(re.findall(r"\b(\w+\.py)\b", text)) <= modules()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_sections_exist(page):
    for name, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        target = page.parent / name if name else page
        titles = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
        anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
        assert anchor in anchors, f"{page.name}: {name}#{anchor}"


def test_every_picture_is_shown():
    text = "".join(page.read_text() for page in PAGES)
    for picture in (ROOT / "docs").glob("*.png"):
        assert picture.name in text, picture


def test_the_file_map_has_the_first_lines_of_the_docstrings():
    assert file_map() in (ROOT / "docs" / "files.md").read_text()


def test_every_recipe_is_named():
    text = "".join(page.read_text() for page in PAGES)
    for recipe in (ROOT / "recipes").glob("*.txt"):
        assert recipe.stem in text, recipe


def test_the_help_states_deviations_from_the_published_code():
    text = re.sub(r"\s+", " ", build_parser("train").format_help())
    for part in ("the published default, cuda, is an error", "trained with 0.01", "another value is only reported"):
        assert part in text


def test_every_flag_of_the_page_is_in_its_table():
    table = (ROOT / "docs" / "demo.md").read_text().partition("| flag |")[2].partition("\n## ")[0]
    options = [option for action in demo.build_parser()._actions[1:] for option in action.option_strings]
    assert re.findall(r"(?<![\w-])--\w+(?= [A-Z])", table) == options


def test_every_dataset_has_its_row():
    table = (ROOT / "docs" / "data.md").read_text().partition("## Datasets")[2].partition("\n## ")[0]
    firsts = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", firsts)) == set(DATASETS)

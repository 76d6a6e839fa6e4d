"""Each published command line has a recipe that means exactly the same."""

import shlex
from pathlib import Path

import pytest

from args import parse_args

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "tests" / "published_commands.txt").read_text().splitlines()
DATASETS = {"ImageNet": "imagenet", "MNIST": "mnist", "ConText": "context", "CUB200": "cub200"}


def script_and_flags(line):
    words = shlex.split(line)
    index = next(i for i, word in enumerate(words) if word.endswith(".py"))
    return words[index].removesuffix(".py"), words[index + 1 :]


def recipe_name(line):
    """Name of the recipe of a published line: dataset, kind of model, and the task unless it is training."""
    script, flags = script_and_flags(line)
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    if "--dataset" not in given:
        return "distributed"
    dataset = DATASETS[given["--dataset"]]
    if script == "torchcam_vis":
        return f"{dataset}_torchcam"
    kind = {"1": "positive", "-1": "negative"}.get(given.get("--loss_status"), "fc")
    return f"{dataset}_{kind}" + ("_test" if script == "test" else "")


@pytest.mark.parametrize("line", LINES, ids=recipe_name)
def test_a_recipe_parses_to_the_namespace_of_its_published_line(line):
    script, flags = script_and_flags(line)
    recipe = ROOT / "recipes" / f"{recipe_name(line)}.txt"
    assert vars(parse_args([f"@{recipe}"], script)) == vars(parse_args(flags, script))


def test_there_is_a_recipe_for_each_line_and_four_of_our_own():
    names = {recipe_name(line) for line in LINES}
    assert len(names) == len(LINES) == 25
    assert {path.stem for path in (ROOT / "recipes").glob("*.txt")} == {
        *names,
        "quickstart",
        "lite0",
        "direct",
        "folder",
    }

"""Flags that print what there is to choose from."""

import shlex

import pytest

from args import build_parser, parse_args
from tools import discovery


def printed(capsys, *words, script="train"):
    with pytest.raises(SystemExit) as caught:
        parse_args([*words], script)
    out, err = capsys.readouterr()
    assert caught.value.code == 0 and not err
    return out


def without(values, *names):
    return {name: value for name, value in vars(values).items() if name not in names}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["@recipes/quickstart.txt", "--lr", "3", "--img_size", "192x256"],
        ["--num_classes", "2,3", "--vis_id", "0,4-6", "--aug=paper", "--image", "a b.png", "c#.png"],
        ["--tau", "4", "--resume", "false", "--dataset_dir", "it's"],
    ],
)
def test_the_printed_config_is_an_argument_file_of_the_same_run(capsys, tmp_path, words):
    file = tmp_path / "config.txt"
    file.write_text(printed(capsys, *words, "--print_config"))
    before, after = parse_args(words), parse_args([f"@{file}"])
    assert without(before, "hints", "given") == without(after, "hints", "given")
    assert before.given - {"resume"} == after.given


def test_the_printed_config_says_where_a_value_is_from(capsys):
    out = printed(
        capsys, "--epochs", "3", "--batch_size", "7", "@recipes/quickstart.txt", "--lr", "3", "--print_config"
    )
    lines = out.splitlines()
    assert "--lr 3.0  # command line" in lines and "--batch_size 32  # @recipes/quickstart.txt" in lines
    assert "--epochs 8  # @recipes/quickstart.txt" in lines  # it comes later and counts
    assert "--attention qknorm  # @recipes/quickstart.txt" in lines  # of a recipe in the recipe
    assert "# --weight_decay 0.01  (default)" in lines and "# --dataset_dir  (default: none)" in lines


def test_every_recipe_is_listed_with_its_needs(capsys):
    entries = printed(capsys, "--list_recipes").split("@recipes/")[1:]
    needs = {entry.partition(".txt")[0]: entry.partition("needs: ")[2].strip() for entry in entries}
    assert set(needs) == {path.stem for path in discovery.RECIPES.glob("*.txt")}
    assert needs["quickstart"] == "nothing" and "--dataset_dir DIR" in needs["folder"]
    assert needs["mnist_positive"].endswith("the plain classifier of mnist_fc.txt")
    assert needs["direct"].startswith("flags that choose the data")
    assert all(len(entry.splitlines()[1].strip()) > 20 for entry in entries)


def test_models_are_listed_by_pattern_with_a_mark_for_weights(capsys):
    lines = printed(capsys, "--list_models", "*lite0").splitlines()
    assert "* tf_efficientnet_lite0" in lines and all("lite0" in line for line in lines[:-1])
    with pytest.raises(SystemExit) as caught:
        parse_args(["--list_models", "no_such_net"])
    assert caught.value.code == 2 and "like 'no_such_net'" in capsys.readouterr().err


def test_recipes_and_config_need_no_torch(as_user):
    code = "import sys, tools.discovery as d, args; d.recipes_text(); print('torch' in sys.modules)"
    assert as_user(f'python -c "{code}"').stdout.strip() == "False"


@pytest.mark.parametrize("script", [script for script in discovery.EXAMPLES if script != "demo"])
def test_the_help_ends_with_examples_that_parse(script):
    text = build_parser(script).format_help()
    assert text.index("examples:") > text.index("--dist_url")
    for _, words in discovery.EXAMPLES[script]:
        assert words in text
        parse_args(shlex.split(words), script)

"""Flags that exclude or need each other, as a user types them."""

import shlex
from pathlib import Path

import pytest

from args import parse_args

ROOT = Path(__file__).parents[2]


def refused(capsys, words, script="test"):
    """The one line with which a script refuses its flags."""
    with pytest.raises(SystemExit) as caught:
        parse_args(words.split(), script)
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and line.startswith(f"{script}.py: error: ")
    return line


@pytest.mark.parametrize(
    "words",
    ["--image a.png", "--vis true", "--vis_id 0", "--classes cat", "--versus cat", "--vis_dir here", "--report a.html",
     "--explain_metrics true", "--metric_images 5"],
)  # fmt: skip
def test_predict_only_writes_a_table(capsys, words):
    flag = words.partition(" ")[0]
    line = refused(capsys, f"--predict new {words}")
    assert f"argument --predict: it only writes a table of predictions; leave out {flag}, or --predict" in line
    assert "leave out --split" in refused(capsys, "--predict new --split test")


def test_what_says_no_contradicts_nothing():
    words = "--predict new --predictions p.csv --bad_images skip --vis false --explain_metrics false --batch_size 3"
    assert parse_args(words.split(), "test").hints == ()


def test_another_script_predicts_nothing(capsys):
    for script in ("train", "torchcam_vis"):
        line = refused(capsys, "--predict new", script)
        assert f"argument --predict: {script}.py predicts no pictures; give the flag to test.py" in line


def test_pictures_of_the_user_have_no_table_and_no_metrics(capsys):
    assert "give --predict instead" in refused(capsys, "--image a.png --predictions true")
    assert "which --image replaces: leave one out" in refused(capsys, "--image a.png --explain_metrics true")
    parse_args(["--image", "a.png", "--explain_metrics", "true"], "torchcam_vis")  # draws some, and measures the split


@pytest.mark.parametrize(
    ("script", "words", "notes"),
    [
        ("test", "--versus cat", ["--versus is ignored: nothing is drawn without --vis true, --vis_id or --image"]),
        ("test", "--versus cat --vis_dir v --vis true", []),
        ("test", "--versus cat --vis_id 3", []),
        ("test", "--vis_id 3 --vis false", []),  # as in the published commands
        ("test", "--classes cat --image a.png", []),
        ("test", "--image a.png --vis_id 3", ["--vis_id is ignored: --image replaces the pictures of the split"]),
        ("test", "--metric_images 3",
         ["--metric_images is ignored: nothing is measured without --explain_metrics true"]),
        ("test", "--metric_images 3 --explain_metrics true", []),
        ("torchcam_vis", "--versus cat", []),  # draws by default
        ("torchcam_vis", "--vis_dir v --explain_metrics true",
         ["--vis_dir is ignored: nothing is drawn without --vis true, --vis_id or --image"]),
        ("torchcam_vis", "--report a.html", ["--report is ignored: test.py takes it"]),
        ("train", "--predictions true", ["--predictions is ignored: test.py takes it"]),
        ("train", "--vis true --vis_id 3 --versus cat", []),  # as published
    ],
)  # fmt: skip
def test_a_flag_without_effect_is_noted(script, words, notes):
    assert list(parse_args(words.split(), script).hints) == notes


@pytest.mark.parametrize("script", ["train", "test", "torchcam_vis"])
def test_published_commands_have_no_notes(script):
    for line in (ROOT / "tests" / "published_commands.txt").read_text().splitlines():
        words = shlex.split(line)
        start = next(i for i, word in enumerate(words) if word.endswith(".py")) + 1
        assert parse_args(words[start:], script).hints == (), line


def test_recipes_have_no_notes():
    for recipe in (ROOT / "recipes").glob("*.txt"):
        for script in ("test", "torchcam_vis") if recipe.stem.endswith(("test", "torchcam")) else ("train",):
            assert parse_args([f"@{recipe}"], script).hints == (), recipe


def test_the_first_epoch_is_one_of_the_run(capsys):
    line = refused(capsys, "--start_epoch 5 --epochs 5", "train")
    assert "argument --start_epoch: epochs 0 to 4 of --epochs 5 can be the first, not 5" in line
    assert parse_args(["--start_epoch", "5", "--epochs", "5", "--resume", "auto"], "train").start_epoch == 5
    assert parse_args(["--start_epoch", "4", "--epochs", "5"], "train").start_epoch == 4


def test_weights_that_the_plain_classifier_replaces_are_noted():
    hints = parse_args(["--use_pre", "true", "--backbone_weights", "a.pth"], "train").hints
    assert hints == ("--backbone_weights is ignored: with --use_pre true the weights are of the plain classifier",)

"""Rows of the study, the number of pictures of each, and the flags."""

import pytest

from engine.explain.attribution.settings import MethodSettings
from sloter.config import option_values
from studies.field.flags import parse_args
from studies.field.plan import MODELS, pictures_for, rows_of
from studies.head_study.heads import head_options


@pytest.mark.parametrize(
    ("forwards", "expected"), [(1, 500), (50, 500), (50.5, 100), (51, 100), (5121, 100)]
)  # fmt: skip
def test_a_method_of_many_forwards_is_measured_on_fewer_pictures(forwards, expected):
    args = parse_args(["--data", "MNIST5k"])
    counts = {"limit": args.slow_forwards, "images": args.images, "slow_images": args.slow_images}
    assert pictures_for(forwards, **counts) == expected


def test_a_slow_method_never_has_more_pictures_than_a_fast_one():
    assert pictures_for(1000, limit=50, images=60, slow_images=100) == 60


def test_the_methods_explain_the_linear_classifier_alone():
    rows = rows_of(["paper+", "direct", "linear"], ["CAM", "RISE"])
    assert rows == [("paper+", "own map"), ("direct", "own map"), ("linear", "CAM"), ("linear", "RISE")]


def test_the_earlier_direct_form_differs_from_the_recipe():
    """The settings that version 0.2.0 replaced: reference min, logit scale 4, salience 2.5, no absent evidence."""
    old, now = MODELS["direct_old"], head_options("direct")
    assert old.changes == {"reference": "min", "logit_scale": 4.0, "salience": 2.5}
    assert all(now[name] != value for name, value in old.changes.items())
    assert old.loss == {"absent_weight": 0.0} and MODELS["direct"].changes == {}


def test_the_options_of_metrics_and_methods_are_flags():
    args = parse_args(["--data", "MNIST5k", "--rise_masks", "7", "--methods", "RISE,CAM,RISE"])
    assert option_values(MethodSettings, vars(args))["rise_masks"] == 7
    assert args.methods == ("RISE", "CAM") and args.models == tuple(MODELS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "the following arguments are required: --data"),
        ("--data X --models slots", "'slots' is none of paper+, paper-, direct_old"),
        ("--data X --methods Saliency", "'Saliency' is none of CAM, GradCAM"),
        ("--data X --metrics beauty", "'beauty' is none of area, on_object"),
        ("--data X --metrics sensitivity --sensitivity_samples 0", "there is no sensitivity: choose another metric"),
        ("--data X --images 0", "argument --images: 0 is not a whole number of at least 1"),
        ("--data X Y X:/elsewhere", "argument --data: X is given twice"),
    ],
)
def test_wrong_flags_are_one_line(capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        parse_args(flags.split())
    err = capsys.readouterr().err
    assert ended.value.code == 2 and message in err and len(err.strip().splitlines()) == 1

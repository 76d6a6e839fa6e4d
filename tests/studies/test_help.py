"""Help texts of the studies."""

import shlex

import pytest

from studies import backbones, compare
from studies.benchmark import flags as benchmark
from studies.chaos import __main__ as chaos
from studies.export import flags as export
from studies.field import flags as field
from studies.head_study import flags as head_study

STUDIES = {
    "backbones": backbones,
    "benchmark": benchmark,
    "chaos": chaos,
    "compare": compare,
    "export": export,
    "field": field,
    "head_study": head_study,
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_help_ends_with_examples_that_parse(capsys, name):
    study = STUDIES[name]
    with pytest.raises(SystemExit) as caught:
        study.parse_args(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for what, words in study.EXAMPLES:
        assert f"  # {what}\n  python -m studies.{name} {words}".rstrip() in text.partition("examples:\n")[2]
        # without the check of optional packages, where the parser can be had
        parse = study.build_parser().parse_args if hasattr(study, "build_parser") else study.parse_args
        parse(shlex.split(words))
    assert text.splitlines()[-1] == f"  python -m studies.{name} {study.EXAMPLES[-1][1]}".rstrip()


@pytest.mark.parametrize(("build", "groups"), [
    (chaos.build_parser, ["plan", "limits", "files"]),
    (export.build_parser, ["model and file", "reading of the evidence", "comparison with PyTorch"]),
    (field.build_parser, ["pictures and backbone", "models and methods", "measurement",
                          "parameters of the metrics and methods", "machine and files"]),
    (head_study.build_parser, ["pictures", "backbone", "heads", "training", "measurements, machine and files"]),
])  # fmt: skip
def test_every_flag_is_in_a_group(build, groups):
    parser = build()
    assert [group.title for group in parser._action_groups[2:]] == groups
    ungrouped = [action.dest for group in parser._action_groups[:2] for action in group._group_actions]
    assert ungrouped == ["help"]


def test_a_module_that_timm_does_not_have_is_one_line(as_user):
    done = as_user("python -m studies.backbones convnxt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "backbones: error: convnxt: timm has no such module; did you mean convnext?\n"

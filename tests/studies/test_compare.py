"""The common table of several runs."""

import json

import pytest
from matplotlib.figure import Figure

from studies import compare


@pytest.fixture
def table(monkeypatch, capsys, tmp_path):
    """Prints the common table of two folders with these rows; returns its lines and the legend of the figure."""

    def run(first: dict, second: dict) -> tuple[list[str], list[str]]:
        for name, row in (("a", first), ("b", second)):
            (tmp_path / name).mkdir()
            content = {"checkpoint": "x_checkpoint.pth", "area": 0.1, "precision": 0.5, "images": 3, **row}
            (tmp_path / name / "metrics.json").write_text(json.dumps({"rows": [content]}))
        legends = []
        legend = Figure.legend
        monkeypatch.setattr(
            Figure, "legend", lambda own, *given, **how: legends.extend(given[1]) or legend(own, *given, **how)
        )
        words = [str(tmp_path / "a"), str(tmp_path / "b"), "--output_dir", str(tmp_path / "all")]
        monkeypatch.setattr("sys.argv", ["compare", *words])
        compare.main()
        return capsys.readouterr().out.splitlines(), legends

    return run


def test_runs_of_one_method_have_their_checkpoints_in_table_and_legend(table):
    lines, legend = table({"method": "SCOUTER"}, {"method": "SCOUTER"})
    assert lines[0].split()[:2] == ["checkpoint", "method"]
    assert [line.split()[0] for line in lines[1:3]] == ["../a/x_checkpoint.pth", "../b/x_checkpoint.pth"]
    assert legend == ["SCOUTER\n(../a/x_checkpoint.pth)", "SCOUTER\n(../b/x_checkpoint.pth)"]


def test_runs_that_differ_by_method_need_no_checkpoint(table):
    lines, legend = table({"method": "SCOUTER"}, {"method": "CAM"})
    assert lines[0].split()[:2] == ["method", "images"] and legend == ["SCOUTER", "CAM"]

"""What a result is of, and that results on other data are never taken for the same."""

import csv
import html
import json
import logging

import pytest
from PIL import Image

from engine.explain.table import add_row, metric_cells, show_table
from tools.figures.report.page import Report, save_report
from tools.provenance import data_text, file_fingerprint, mixed, provenance_text
from tools.run_log import save_results

ORIGIN = {"dataset": "Folder", "folder": "birds", "split": "val", "pictures": 12, "classes": "0123456789ab",
          "img_size": [24, 32], "checkpoint_id": "ba9876543210"}  # fmt: skip
LINE = "Folder in birds/, val, 12 pictures, classes 0123456789ab, 24 x 32 pixels, checkpoint ba9876543210"


def test_the_origin_of_a_result_in_words(tmp_path):
    assert provenance_text(ORIGIN) == LINE and provenance_text({}) == ""
    assert data_text({"dataset": "CUB200"}) == "CUB200, version before 0.2.0"
    (tmp_path / "a").write_bytes(b"abc")  # the test vector of the standard
    assert file_fingerprint(tmp_path / "a") == "ba7816bf8f01" and file_fingerprint(tmp_path / "none") == ""


OTHER = [{"folder": "fish"}, {"split": "train"}, {"pictures": 11}, {"classes": "f" * 12}, {"dataset": "CUB200"}]


@pytest.mark.parametrize("change", [*OTHER, {"img_size": [32, 32]}])
def test_a_result_on_other_data_does_not_replace_one(tmp_path, change):
    path = tmp_path / "results.json"
    for record in ({**ORIGIN, "top1": 0.1}, {**ORIGIN, **change, "top1": 0.2}, {**ORIGIN, "top1": 0.3}):
        save_results(path, {"checkpoint": "a.pth", **record})
    content = json.loads(path.read_text())
    assert content["top1"] == 0.3 and [entry["top1"] for entry in content["earlier"]] == [0.2]


@pytest.mark.parametrize("change", OTHER)
def test_rows_of_other_data_are_kept_apart_and_it_is_said(tmp_path, capsys, caplog, change):
    row = {"checkpoint": "a.pth", "method": "CAM", **ORIGIN, "images": 4, "area": 0.5, "precision": 0.5}
    add_row(tmp_path, row)
    show_table(tmp_path, add_row(tmp_path, row))
    assert "data" not in capsys.readouterr().out.splitlines()[0] and not caplog.text
    rows = add_row(tmp_path, {**row, **change})
    with caplog.at_level(logging.WARNING):
        show_table(tmp_path, rows)
    assert len(rows) == 2 and "the rows are of 2 different data and cannot be compared" in caplog.text
    assert len({cells["data"] for cells in metric_cells(rows)}) == 2
    with (tmp_path / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["classes"] == ORIGIN["classes"] and lines[0]["checkpoint_id"] == ORIGIN["checkpoint_id"]
    assert all(lines[1][name] == str(value) for name, value in change.items())


def test_a_table_of_one_data_says_which_in_its_figure(tmp_path):
    add_row(tmp_path, {"checkpoint": "a.pth", "method": "CAM", **ORIGIN, "area": 0.5, "precision": 0.5})
    assert Image.open(tmp_path / "metrics.png").info["Description"].replace("\n", " ") == LINE


def test_a_checkpoint_that_was_trained_on_since_a_measurement_is_noted():
    rows = [{"checkpoint": "a", **ORIGIN}, {"checkpoint": "a", **ORIGIN, "checkpoint_id": "1"}, {"checkpoint": "b"}]
    assert mixed(rows[:1]) == [] and mixed(rows[:2]) == [
        "the rows of a are of 2 states of the file: measure the older ones again"
    ]
    assert "Folder in birds/" in mixed(rows)[0] and "unknown data" in mixed(rows)[0]


def test_a_folder_may_have_any_name(tmp_path):
    for folder in ("a$b", r"$\frac$", "日本", "<b>"):
        rows = [{"checkpoint": "a", "method": "CAM", **ORIGIN, "folder": folder, "area": 0.5, "precision": 0.5}]
        rows.append({**rows[0], "split": "train"})
        for name, content in (("one", rows[:1]), ("two", rows)):
            (tmp_path / folder / name).mkdir(parents=True)
            for row in content:
                add_row(tmp_path / folder / name, row)
        assert folder in Image.open(tmp_path / folder / "one" / "metrics.png").info["Description"]
        page = tmp_path / folder / "report.html"
        save_report(page, Report("t", {}, {}, [{"x": 1}], [], [], provenance_text(rows[0]), ["<mixed> rows"]))
        text = page.read_text()
        assert f"<p>{html.escape(provenance_text(rows[0]))}</p>" in text and "&lt;mixed&gt; rows" in text

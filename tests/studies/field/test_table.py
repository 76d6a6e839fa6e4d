"""The table of the study, with numbers worked out by hand."""

from pathlib import Path

import pytest
from PIL import Image

from studies.field.figure import save_field
from studies.field.plan import Row
from studies.field.published import PUBLISHED, SCOUTER
from studies.field.table import flat, markdown, measured_row

CAM = measured_row(
    "CUB200, 25", Row("linear", "CAM"), {"top1": 0.8512, "grid": 0.9},
    {"images": 500, "forwards": 1.0, "map_seconds": 0.0123, "scoring_seconds": 61.6, "area": 0.1555, "precision": 0.636,
     "iauc": 0.688, "intervals": {"area": [0.15, 0.16], "precision": [0.6, 0.68], "iauc": [0.6, 0.7]}},
)  # fmt: skip
NEGATIVE = measured_row(
    "CUB200, 25", Row("paper-", "own map"), {"top1": 0.75},
    {"images": 500, "forwards": 1.0, "map_seconds": 0.01, "scoring_seconds": 9.4, "area": 0.168, "iauc": 0.001,
     "iauc_true": 0.7, "intervals": {"area": [0.16, 0.18], "iauc": [0.0, 0.002], "iauc_true": [0.65, 0.75]}},
)  # fmt: skip
OTHER = {"data": "ImageNet, 1000", "model": "B-cos ResNet-50", "source": "Böhle et al., TPAMI 2024", "top1": 0.75882}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_by_hand():
    lines = markdown([NEGATIVE, CAM], [OTHER], ["A note."]).splitlines()
    assert cells(lines[0]) == [
        "data", "model", "map", "n", "top-1", "area", "precision", "iauc", "forwards", "s a map", "wall, s", "source",
    ]  # fmt: skip
    assert cells(lines[2]) == [
        "CUB200, 25", "SCOUTER-, published form", "own map", "500", "0.750", "0.168 ±0.010", "-", "0.700* ±0.050", "1",
        "0.010", "9", "measured",
    ]  # fmt: skip
    assert cells(lines[3]) == [
        "CUB200, 25", "linear (FC)", "CAM", "500", "0.851", "0.155 ±0.005", "0.636 ±0.040", "0.688 ±0.050", "1",
        "0.012", "62", "measured",
    ]  # fmt: skip
    assert lines[-1] == "A note." and len({line.count("|") for line in lines[:5]}) == 1


def test_published_rows_are_marked_and_never_look_measured():
    line = markdown([CAM], [OTHER], []).splitlines()[-1]
    assert cells(line) == [
        "ImageNet, 1000", "B-cos ResNet-50", "-", "-", "0.759", "-", "-", "-", "-", "-", "-",
        "**published**: Böhle et al., TPAMI 2024",
    ]  # fmt: skip
    assert flat(OTHER)["source"] == "published: Böhle et al., TPAMI 2024" and flat(CAM)["source"] == "measured"
    table = markdown([CAM], PUBLISHED, []).splitlines()
    assert [("**published**: " in line, "measured" in line) for line in table[2:]] == [
        (False, True), *[(True, False)] * len(PUBLISHED)
    ]  # fmt: skip


def test_the_csv_has_the_ends_of_the_intervals():
    row = flat(CAM)
    assert (row["precision"], row["precision_low"], row["precision_high"]) == (0.636, 0.6, 0.68)
    assert (row["data"], row["model"], row["map"], row["images"], row["top1"]) == (
        "CUB200, 25", "linear (FC)", "CAM", 500, 0.8512,
    )  # fmt: skip
    assert row["sensitivity"] == ""


def test_the_published_numbers_of_scouter_are_those_of_the_documentation():
    page = (Path(__file__).parents[3] / "docs" / "replicating.md").read_text()
    rows = [row for row in PUBLISHED if row["source"] == SCOUTER]
    values = [value for row in rows for value in row.values() if isinstance(value, float)]
    assert len(values) == 42 and all(f"{value:.4f}".lstrip("0") in page for value in values)


def test_every_published_row_has_a_source_and_a_number():
    for row in PUBLISHED:
        assert row["data"] and row["model"] and row["source"]
        assert any(isinstance(value, float) and 0 < value < 1 for value in row.values())


@pytest.mark.parametrize(("left_out", "across", "down"), [((), 4, 2), (("dauc",), 4, 1), (("dauc", "iauc"), 3, 1)])
def test_the_figure_has_a_panel_for_each_metric_of_the_rows(tmp_path, left_out, across, down):
    row = {name: value for name, value in {**CAM, "dauc": 0.2}.items() if name not in left_out}
    save_field(tmp_path / "figure.png", [row, {**NEGATIVE, "iauc_true": None, "iauc": None}], note="data")
    width, height = Image.open(tmp_path / "figure.png").size  # 120 pixels per inch
    assert width == pytest.approx(120 * (2.6 + 2.2 * across), abs=2)
    assert height == pytest.approx(120 * (0.5 + down * (0.9 + 0.28 * 2) + 0.2), abs=2)  # and the line of the note

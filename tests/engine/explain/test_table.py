import csv
import json

import pytest

from engine.explain.attribution.settings import MethodSettings
from engine.explain.metrics.registry import BETTER, COLUMNS
from engine.explain.table import GROUPS, add_row, metric_tables, read_metrics, write_table

ROW = {
    "checkpoint": "a.pth", "method": "CAM", "checkpoint_id": "12", "images": 9, "scoring_seconds": 3.0,
    "settings": {"steps": 5, "seed": 0}, "area": 0.25, "iauc": 0.5, "intervals": {"area": [0.2, 0.3], "iauc": [0, 1]},
}  # fmt: skip
GRID = {
    **ROW, "area": 0.75, "intervals": {"grid_2x2": [0.8, 1.0], "area": [0.7, 0.8]}, "quartiles": {"grid_2x2": [0.7, 1]},
    "means": {"grid_2x2": 0.85}, "grid_2x2": 0.9, "metrics": ["area", "grid_game"], "scoring_seconds": 2.0,
    "settings": {"steps": 5, "seed": 0, "grid_mosaics": 500},
}  # fmt: skip
del GRID["iauc"]


def test_every_column_is_in_one_table_and_has_a_direction():
    columns = [column for names in GROUPS.values() for column in names]
    assert sorted(columns) == sorted(COLUMNS) and set(BETTER) <= set(COLUMNS)


def test_metrics_that_are_measured_later_join_the_row(tmp_path):
    add_row(tmp_path, ROW)
    (row,) = add_row(tmp_path, GRID)
    assert (row["area"], row["iauc"], row["grid_2x2"]) == (0.75, 0.5, 0.9)  # the new area
    assert row["intervals"] == {"grid_2x2": [0.8, 1.0], "area": [0.7, 0.8], "iauc": [0, 1]}
    assert row["scoring_seconds"] == 5 and row["quartiles"] == {"grid_2x2": [0.7, 1]}
    assert row["metrics"] == ["area", "on_object", "insertion_deletion", "infidelity", "sensitivity", "grid_game"]
    assert read_metrics(tmp_path) == [row]
    (row,) = add_row(tmp_path, ROW)  # and the other way round
    assert (row["area"], row["grid_2x2"], row["means"]) == (0.25, 0.9, {"grid_2x2": 0.85})


@pytest.mark.parametrize(
    "change", [{"checkpoint_id": "34"}, {"images": 8}, {"settings": {"steps": 6, "seed": 0}}, {"map": "evidence"}]
)
def test_metrics_of_another_measurement_are_replaced(tmp_path, change, caplog):
    add_row(tmp_path, {**ROW, **change})
    (row,) = add_row(tmp_path, GRID)
    assert "CAM: iauc are gone from the table" in caplog.text
    assert "iauc" not in row and row["scoring_seconds"] == 2 and row["intervals"] == GRID["intervals"]


def test_the_size_of_a_batch_is_no_setting_of_a_map(tmp_path):
    for metrics, size, samples in (({"area": 0.5}, 8, 4), ({"gini": 0.7}, 64, 4), ({"iauc": 0.2}, 64, 9)):
        settings = MethodSettings(batch_size=size, smooth_samples=samples).of_maps()
        (row,) = add_row(tmp_path, {"checkpoint": "a.pth", "method": "CAM", "method_settings": settings, **metrics})
        assert ("area" in row) is (samples == 4)


def test_the_tables_and_their_directions():
    tables = metric_tables([ROW, {**GRID, "method": "RISE", "random_head": 0.1, "completeness": 3e-8}])
    assert list(tables) == [
        "",
        "dependence on the class and on the model (better: grid_2x2 large; random_head near 0)",
        "effect on the prediction (better: completeness 0)",
    ]
    first, second, third = tables.values()
    assert first == [
        {"method": "CAM", "images": "9", "area": "0.2500 ±0.050", "iauc": "0.5000 ±0.500"},
        {"method": "RISE", "images": "9", "area": "0.7500 ±0.050", "iauc": "-"},
    ]
    assert second == [{"method": "RISE", "images": "9", "grid_2x2": "0.9000 ±0.100", "random_head": "0.1000"}]
    assert third == [{"method": "RISE", "images": "9", "completeness": "3.0e-08"}]


def test_the_file_of_all_columns(tmp_path):
    write_table(tmp_path, [ROW, GRID])
    with (tmp_path / "metrics.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["grid_2x2"], first["grid_2x2_q1"], first["iauc_low"]) == ("", "", "0")
    names = ("grid_2x2", "grid_2x2_low", "grid_2x2_mean", "grid_2x2_q1", "grid_2x2_q3")
    assert [second[name] for name in names] == ["0.9", "0.8", "0.85", "0.7", "1"]


def test_a_table_of_an_earlier_version_is_read(tmp_path):
    old = {"checkpoint": "a.pth", "method": "CAM", "images": 2, "area": 0.25, "intervals": {"area": [0.2, 0.3]}}
    (tmp_path / "metrics.json").write_text(json.dumps({"rows": [old]}))
    assert read_metrics(tmp_path) == [old]
    rows = add_row(tmp_path, ROW)
    assert rows[-1]["area"] == 0.25


@pytest.mark.parametrize("change", [{"quartiles": {"grid_2x2": 1}}, {"quartiles": []}, {"means": {"grid_2x2": "a"}}])
def test_damaged_quartiles_are_an_error(tmp_path, change):
    (tmp_path / "metrics.json").write_text(json.dumps({"rows": [{**GRID, **change}]}))
    with pytest.raises(ValueError, match=r"metrics\.json is not a metrics\.json of this program"):
        read_metrics(tmp_path)

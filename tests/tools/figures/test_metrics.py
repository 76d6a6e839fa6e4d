import pytest
from PIL import Image

from tools.figures import metrics
from tools.figures.metrics import save_metric_figure

AREA = {"method": "SCOUTER", "area": 0.1, "precision": 0.8, "intervals": {"area": (0.05, 0.2)}}
INSERTION = {"method": "CAM", "iauc": 0.5, "dauc": 0.2}


@pytest.mark.parametrize(("rows", "panels"), [([AREA], 1), ([AREA, INSERTION], 2), ([{"method": "CAM"}], 1)])
def test_a_panel_is_drawn_for_each_pair_of_metrics(tmp_path, rows, panels):
    save_metric_figure(tmp_path / "metrics.png", rows)
    assert Image.open(tmp_path / "metrics.png").size == (round((5.6 * panels + 2.2) * 120), 600)


@pytest.mark.parametrize(("names", "heights"), [(1, 1), (4, 1), (5, 2)])
def test_single_metrics_get_panels_below_or_alone(tmp_path, names, heights):
    more = {f"metric_{number}": "large" for number in range(names)} | {"absent": "small"}
    rows = [{**row, **{name: 0.5 for name in more if name != "absent"}} for row in (AREA, INSERTION)]
    save_metric_figure(tmp_path / "metrics.png", rows, more=more)
    height = 5 + heights * (0.25 * len(rows) + 0.9)
    assert Image.open(tmp_path / "metrics.png").size == (round(13.4 * 120), round(height * 120))
    alone = [{"method": "CAM", "metric_0": 0.5}]
    save_metric_figure(tmp_path / "metrics.png", alone, more=more)
    assert Image.open(tmp_path / "metrics.png").size == (round(13.4 * 120), round(1.15 * 120))


def test_every_row_can_be_told_from_the_others(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(metrics, "save_figure", lambda path, figure, note: drawn.append(figure))
    rows = [{"method": f"m{number}", "iauc": 0.5, "dauc": 0.2, "gini": 0.5} for number in range(22)]
    rows[3] |= {"area": 0.1, "precision": 0.8}
    rows += [{"method": "CAM", "checkpoint": f"{name}.pth", "gini": 0.1} for name in "ab"]
    save_metric_figure(tmp_path / "metrics.png", rows, more={"gini": "large"})
    [figure] = drawn
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"m{number}" for number in range(22)]
    names = [text.get_text() for text in figure.axes[2].get_yticklabels()]
    assert names[-2:] == ["CAM (a.pth)", "CAM (b.pth)"]
    points = [line for line in figure.axes[1].lines if line.get_marker() not in "|_"]
    assert len({(line.get_marker(), tuple(line.get_color())) for line in points}) == 22

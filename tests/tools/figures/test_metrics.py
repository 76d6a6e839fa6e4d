import pytest
from PIL import Image

from tools.figures.metrics import save_metric_figure

AREA = {"method": "SCOUTER", "area": 0.1, "precision": 0.8, "intervals": {"area": (0.05, 0.2)}}
INSERTION = {"method": "CAM", "iauc": 0.5, "dauc": 0.2}


@pytest.mark.parametrize(("rows", "panels"), [([AREA], 1), ([AREA, INSERTION], 2), ([{"method": "CAM"}], 1)])
def test_a_panel_is_drawn_for_each_pair_of_metrics(tmp_path, rows, panels):
    save_metric_figure(tmp_path / "metrics.png", rows)
    assert Image.open(tmp_path / "metrics.png").size == (round((5.6 * panels + 2.2) * 120), 600)

import numpy as np
import pytest
from PIL import Image

from tools.figures.curves import save_confusion, save_curves


@pytest.mark.parametrize("c", [2, 30, 120])
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes(tmp_path, c):
    counts = np.eye(c, dtype=int) * 9
    counts[0, 1] = 3
    save_confusion(tmp_path / "confusion.png", counts, [f"class {i}" for i in range(c)])
    pixels = np.asarray(Image.open(tmp_path / "confusion.png").convert("RGB")).astype(int)
    assert 400 < len(pixels) < 2000 and ((pixels[..., 2] - pixels[..., 0]) > 60).mean() > 0.004


def test_curves_of_a_single_epoch_are_drawn(tmp_path):
    save_curves(tmp_path / "curves.png", [{"run": "a", "epoch": 0, "loss": 1.0, "top1": 0.5}])
    assert Image.open(tmp_path / "curves.png").size[0] > 600

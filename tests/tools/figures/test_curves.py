import numpy as np
import pytest
from PIL import Image

from tools.figures import curves
from tools.figures.curves import confusion_counts, save_confusion, save_curves


@pytest.mark.parametrize("c", [2, 30, 120])
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes(tmp_path, c):
    labels = np.append(np.repeat(np.arange(c), 9), [0, 0, 0])
    predicted = np.append(np.repeat(np.arange(c), 9), [1, 1, 1])
    save_confusion(tmp_path / "confusion.png", labels, predicted, [f"class {i}" for i in range(c)])
    pixels = np.asarray(Image.open(tmp_path / "confusion.png").convert("RGB")).astype(int)
    assert 400 < len(pixels) < 2000 and ((pixels[..., 2] - pixels[..., 0]) > 60).mean() > 0.004


def test_confusion_by_hand():
    counts = confusion_counts(np.array([0, 0, 2, 0]), np.array([0, 1, 2, 0]), 3)
    assert counts.tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_many_classes_share_cells(tmp_path, monkeypatch):
    """2,500 classes, three to a cell: a matrix of 2,500 x 2,500 has more cells than the figure pixels."""
    figures = []
    monkeypatch.setattr(curves, "save_figure", lambda path, figure, note: figures.append(figure))
    labels, predicted = np.array([0, 1, 2, 2, 2499]), np.array([1, 0, 2, 2499, 2499])
    save_confusion(tmp_path / "confusion.png", labels, predicted, [str(k) for k in range(2500)])
    (image,) = figures[0].axes[0].images
    shares = image.get_array()
    assert shares.shape == (834, 834) and tuple(image.get_extent()) == (-0.5, 2501.5, 2501.5, -0.5)
    assert (shares[0, 0], shares[0, 833], shares[833, 833], shares.sum()) == (0.75, 0.25, 1, 2)
    assert figures[0].axes[1].get_ylabel() == "share of the true classes, 3 to a cell"


def test_curves_of_a_single_epoch_are_drawn(tmp_path):
    save_curves(tmp_path / "curves.png", [{"run": "a", "epoch": 0, "loss": 1.0, "top1": 0.5}])
    assert Image.open(tmp_path / "curves.png").size[0] > 600

import numpy as np
import pytest
from PIL import Image

from tools.figures.explanations import POSITIVE
from tools.figures.methods import save_method_figure, save_method_files, scaled_map

VALUES = np.array([[-3.0, 0.0], [1.0, 4.0]])


def test_maps_are_cut_at_zero_scaled_and_raised_to_the_floor():
    assert scaled_map(VALUES).tolist() == [[0, 0], [0.25, 1]]
    assert scaled_map(VALUES, 0.2).ravel().tolist() == pytest.approx([0, 0, 0.05 / 0.8, 1])
    assert scaled_map(np.full((2, 2), 3.0)).tolist() == [[0, 0], [0, 0]]


def test_each_class_has_a_grey_map_and_an_overlay(tmp_path):
    save_method_files(tmp_path, Image.new("RGB", (8, 6)), "CAM", VALUES[None], [7], floor=0.0)
    assert np.asarray(Image.open(tmp_path / "CAM_7_mask.png")).tolist() == [[0, 0], [64, 255]]
    assert Image.open(tmp_path / "CAM_7.png").size == (8, 6) and len(list(tmp_path.iterdir())) == 2


def test_the_maps_of_a_slot_model_share_a_scale_and_others_do_not(tmp_path):
    maps = np.stack([np.full((2, 2), 1.0), np.array([[0.0, 100.0], [100.0, 100.0]])])
    colour = []
    for colours in ({"SCOUTER": POSITIVE}, None):
        rows = {"SCOUTER": maps[::-1] if colours is None else maps}
        save_method_figure(
            tmp_path / "methods.png", Image.new("L", (8, 8), 255), rows, ["a", "b"], title="t", colours=colours
        )
        pixels = np.asarray(Image.open(tmp_path / "methods.png").convert("RGB")).astype(int)
        reddish = (pixels[..., 0] - pixels[..., 2]) > 80
        columns = np.array_split(reddish, 3, axis=1)
        colour.append([column.sum() for column in columns])
    assert colour[0][1] == 0 and colour[0][2] > 500  # 1 of 100 is pale
    assert colour[1][1] > 500 and colour[1][2] == 0  # a constant map has no colour when scaled alone

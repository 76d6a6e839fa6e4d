import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tools.figures.canvas import OnePassCanvas


def figure():
    drawn = Figure(figsize=(3, 2), layout="constrained")
    left, right = drawn.subplots(1, 2)
    left.imshow(np.arange(6).reshape(2, 3))
    left.set_title("a title\nof two lines")
    drawn.colorbar(right.imshow(np.eye(4)), ax=right, label="what it means")
    return drawn


def test_one_pass_gives_the_pixels_of_matplotlib():
    drawn, files = figure(), [io.BytesIO(), io.BytesIO()]
    expected = figure()
    expected.set_dpi(120)
    expected.draw_without_rendering()  # a first layout, which settles the sizes that ticks depend on
    expected.savefig(files[0], dpi=120, format="png")
    OnePassCanvas(drawn)
    passes = []
    drawn.draw = lambda renderer, draw=drawn.draw: (passes.append(1), draw(renderer))
    drawn.savefig(files[1], dpi=120, format="png", metadata={"Software": "a program", "Description": "a note"})
    expected, found = (Image.open(file) for file in files)
    assert np.asarray(expected)[..., 3].min() == 255
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected)[..., :3])
    assert found.info["dpi"] == expected.info["dpi"] and found.text == {
        "Software": "a program",
        "Description": "a note",
    }
    assert len(passes) == 1

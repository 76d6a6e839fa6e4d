import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tools.figures.canvas import PngCanvas, save_png


def figure(title):
    drawn = Figure(figsize=(3, 2), layout="constrained")
    left, right = drawn.subplots(1, 2)
    left.imshow(np.arange(6).reshape(2, 3))
    left.set_title(title)
    bar = drawn.colorbar(right.imshow(np.eye(4)), ax=right)
    for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis, bar.ax.yaxis) if not title else ():
        axis.set_ticklabels([])
    return drawn


@pytest.mark.parametrize(("title", "share"), [("", 0.0), ("a title\nof two lines", 0.05)])
def test_one_pass_gives_the_picture_of_matplotlib(title, share):
    """But for texts, which are moved to whole pixels."""
    drawn, expected, files = figure(title), figure(title), [io.BytesIO(), io.BytesIO()]
    expected.set_dpi(120)
    expected.draw_without_rendering()  # a first layout, which settles the sizes that ticks depend on
    expected.savefig(files[0], dpi=120, format="png")
    PngCanvas(drawn)
    passes = []
    drawn.draw = lambda renderer, draw=drawn.draw: (passes.append(1), draw(renderer))
    drawn.savefig(files[1], dpi=120, format="png", metadata={"Software": "a program", "Description": "a note"})
    theirs, ours = (Image.open(file) for file in files)
    difference = np.asarray(theirs.convert("RGB")) != np.asarray(ours)
    assert difference.any(2).mean() <= share
    assert [ax.get_position().bounds for ax in drawn.axes] == [ax.get_position().bounds for ax in expected.axes]
    assert ours.info["dpi"] == theirs.info["dpi"] and ours.text == {"Software": "a program", "Description": "a note"}
    assert len(passes) == 1


@pytest.mark.parametrize(("mode", "saved"), [("L", "L"), ("RGB", "RGB"), ("RGBA", "RGB"), ("P", "RGB"), ("1", "RGB")])
@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 4), (33, 20)])
def test_a_written_picture_is_read_again(mode, saved, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    picture, file = Image.fromarray(pixels).convert(mode), io.BytesIO()
    save_png(file, picture, {"Title": "naïve", "Description": "猫"}, dpi=100)
    found = Image.open(file)
    assert found.mode == saved and found.text == {"Title": "naïve", "Description": "猫"}
    np.testing.assert_array_equal(np.asarray(found), np.asarray(picture.convert(saved)))
    assert found.info["dpi"] == pytest.approx((100, 100), abs=0.01)

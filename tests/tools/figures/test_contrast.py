"""The figure of one class rather than another."""

import math

import numpy as np
import pytest
from PIL import Image

from tools.figures.contrast import contrast_text, draw_contrast, ratio_text, save_contrast_figure


@pytest.mark.parametrize(
    ("nats", "text"),
    [
        (0.0, "1.00 times as likely"),
        (math.log(2.5), "2.50 times as likely"),
        (-math.log(22), "22 times as likely"),
        (math.log(12345), "12,345 times as likely"),
        (900.0, "more than 1,000,000 times as likely"),
    ],
)
def test_the_ratio_in_words(nats, text):
    assert ratio_text(nats) == text


def test_the_line_names_the_likelier_class_first():
    assert contrast_text("cat", "dog", 3.09) == (
        "cat rather than dog: 3.1 nats; by the model's probabilities cat is 22 times as likely as dog"
    )
    assert contrast_text("cat", "dog", -3.09).endswith("dog is 22 times as likely as cat")


@pytest.mark.parametrize(
    ("places", "line"),
    [([3.0, 0.5], "red 3.5 \u2212 blue 0.0 = 3.5 nats"), ([3.0, -0.5], "red 3.0 \u2212 blue 0.5 = 2.5 nats"),
     ([-3.0, 0.0], "red 0.0 \u2212 blue 3.0 = \u22123.0 nats")],
)  # fmt: skip
def test_the_sums_of_both_colours_make_the_difference(places, line):
    picture = Image.new("RGB", (8, 8))
    figure = draw_contrast(picture, np.array([places, [0.0, 0.0]]), name="cat", other="dog", title="t")
    assert figure.get_suptitle().splitlines()[-1] == line


def test_evidence_for_either_class_has_its_colour_and_contour(tmp_path):
    contrast = np.zeros((4, 4))
    contrast[0, 0], contrast[3, 3] = 2.0, -2.0
    save_contrast_figure(
        tmp_path / "a.png", Image.new("RGB", (40, 40), "white"), contrast, name="$cat_1", other="dog", title="t"
    )
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    half = pixels[:, pixels.shape[1] // 2 :]
    rows, columns = np.nonzero(half[..., 0] - half[..., 2] > 120)
    red = rows.mean(), np.median(columns)
    rows, columns = np.nonzero(half[..., 2] - half[..., 0] > 120)
    assert len(rows) > 50 and rows.mean() > red[0]  # blue lies below red

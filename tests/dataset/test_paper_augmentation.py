import pytest
import torch

from args import parse_args
from dataset.affine import AffineMap
from dataset.blur import Blur
from dataset.changes import Change, changed
from dataset.paper_augmentation import draw_affine, draw_blur
from dataset.transforms import augmentation

IDENTITY = AffineMap(angle=0, scale=(1.0, 1.0), shift=(0.0, 0.0))


def mapped(image, **change):
    return changed(image, Change(affine=IDENTITY._replace(**change)))


def test_the_numbers_have_the_moments_of_the_published_code():
    """Means and variances of the uniform distributions that its file tools/image_aug.py draws from."""
    torch.manual_seed(0)
    drawn = [draw_affine() for _ in range(4000)]
    table = torch.tensor([[each.angle, *each.scale, *each.shift] for each in drawn], dtype=torch.float64)  # (n, 5)
    ranges = {"scale_x": (0.8, 1), "scale_y": (0.8, 1), "translate_x": (0, 0.1), "translate_y": (-0.1, 0.1)}
    for (name, (low, high)), values in zip(ranges.items(), table.T[1:], strict=True):
        assert low <= values.min() and values.max() <= high, name
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low)), name
        assert values.var() == pytest.approx((high - low) ** 2 / 12, rel=0.06), name
    angles = table[:, 0]
    assert set(angles.tolist()) == set(range(-10, 10))  # numpy's randint(-10, 10)
    assert angles.mean() == pytest.approx(-0.5, abs=0.4) and angles.var() == pytest.approx(399 / 12, rel=0.06)
    assert torch.corrcoef(table.T).fill_diagonal_(0).abs().max() < 0.06  # the axes are scaled apart
    blurs = [blur for blur in (draw_blur() for _ in range(4000)) if blur]
    sigmas = torch.tensor([blur.sigma for blur in blurs])
    assert all(blur.size == (5 if blur.sigma < 6 / 3.3 else 7 if blur.sigma < 8 / 3.3 else 9) for blur in blurs)
    assert sigmas.mean() == pytest.approx(1.5, abs=0.06) and sigmas.var() == pytest.approx(0.75, rel=0.06)


def moments(image):
    """Mean (x, y) and standard deviation (x, y) of the white of a picture (1, H, W), in pixels from the centre."""
    weight = image[0].double() / image.sum()
    x, y = (
        torch.arange(image.shape[2]) - (image.shape[2] - 1) / 2,
        torch.arange(image.shape[1]) - (image.shape[1] - 1) / 2,
    )
    mean = (weight.sum(0) * x).sum(), (weight.sum(1) * y).sum()
    std = ((weight.sum(0) * (x - mean[0]) ** 2).sum() ** 0.5, (weight.sum(1) * (y - mean[1]) ** 2).sum() ** 0.5)
    return [float(value) for value in (*mean, *std)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (0, 0, 1, 1)),
        ({"shift": (0.1, -0.05)}, (4, -3, 1, 1)),  # of 40 and 60 pixels: right, up
        ({"scale": (0.8, 1)}, (0, 0, 0.8, 1)),
        ({"scale": (1, 0.9), "shift": (0.05, 0)}, (2, 0, 1, 0.9)),  # the translation is not scaled
    ],
)
def test_the_affine_map_moves_and_scales_each_axis(change, expected):
    white = torch.zeros(1, 60, 40, dtype=torch.uint8)
    white[:, 20:40, 10:30] = 255
    before = moments(white)
    after = moments(mapped(white, **change))
    found = [after[0], after[1], after[2] / before[2], after[3] / before[3]]
    assert found == pytest.approx(expected, abs=0.03)


def test_a_positive_angle_turns_clockwise_after_scaling():
    white = torch.zeros(1, 61, 41, dtype=torch.uint8)
    white[:, 29:32, 34:37] = 255  # 15 pixels to the right of the centre
    x, y, *_ = moments(mapped(white, angle=9, scale=(0.8, 1)))
    assert (x, y) == pytest.approx((0.8 * 15 * 0.98769, 0.8 * 15 * 0.15643), abs=0.05)


def test_the_order_is_random():
    """White moves to the left only if the picture is flipped after it has been moved."""
    torch.manual_seed(0)
    white, change = torch.zeros(1, 40, 40, dtype=torch.uint8), augmentation(augment="paper")
    white[:, 10:30, 10:30] = 255
    shifts = [moments(change(white))[0] for _ in range(400)]
    left, right = sum(x < -0.2 for x in shifts), sum(x > 0.2 for x in shifts)
    assert 25 < left < 75 and 110 < right < 190  # 1/8 and 3/8, less the smallest shifts


def test_a_blur_spreads_by_its_sigma_and_keeps_the_light():
    point = torch.zeros(1, 31, 31, dtype=torch.uint8)
    point[:, 15, 15] = 255
    out = changed(point, Change(blur_before=Blur(1.0, 5)))
    assert (out > 0).sum() == 25 and out.sum() == pytest.approx(255, abs=8)
    assert changed(torch.full((3, 2, 2), 9, dtype=torch.uint8), Change(blur_after=Blur(3.0, 9))).eq(9).all()


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("Paper", "paper"), ("1", True)])
def test_the_flag_takes_a_boolean_or_paper(text, value):
    assert parse_args(["--aug", text]).aug == value and parse_args([]).aug is False


def test_another_value_of_the_flag_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_args(["--aug", "strong"])
    assert "'strong' is neither true nor false (true/false/yes/no/1/0), nor paper" in capsys.readouterr().err

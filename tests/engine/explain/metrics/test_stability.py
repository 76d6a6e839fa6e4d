import pytest
import torch

from engine.explain.metrics.stability import as_jpeg, common, shifted, stability


def brightness(images, targets):
    return images.mean(1, keepdim=True).expand(-1, targets.shape[1], -1, -1)


def test_shifts_by_hand():
    image = torch.tensor([[[[1.0, 2], [3, 4]]]])
    assert shifted(image, 1, 0)[0, 0].tolist() == [[1, 2], [1, 2]]
    assert shifted(image, -1, 0)[0, 0].tolist() == [[3, 4], [3, 4]]
    assert shifted(image, 0, 1)[0, 0].tolist() == [[1, 1], [3, 3]]
    assert shifted(image, 0, -1)[0, 0].tolist() == [[2, 2], [4, 4]]


@pytest.mark.parametrize(("down", "right"), [(2, 0), (-3, 0), (0, 1), (0, -2)])
def test_what_is_still_in_the_picture_is_compared_with_where_it_came_from(down, right):
    image = torch.rand(1, 1, 8, 9)
    before, after = common(image[:, 0], down, right), common(shifted(image, down, right)[:, 0], -down, -right)
    assert torch.equal(before, after) and before.shape == (1, 8 - abs(down), 9 - abs(right))


def test_maps_that_move_with_the_picture_are_stable_and_those_that_do_not_are_not():
    images, classes = torch.rand(2, 3, 16, 16, generator=torch.manual_seed(0)), torch.tensor([0, 1])
    fixed = brightness(images, classes[:, None])

    def places(pictures, targets):  # the same places of the picture, wherever its content has gone
        return fixed

    moving = stability(brightness, images, classes, shift=0.1)
    assert list(moving) == ["stability_shift"] and moving["stability_shift"].tolist() == pytest.approx([1, 1])
    assert stability(places, images, classes, shift=0.1)["stability_shift"].max() < 0.5
    constant = stability(lambda x, t: torch.ones(len(x), 1, 4, 4), images, classes)
    assert constant["stability_shift"].tolist() == [1, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_file_is_nearly_the_picture_and_a_poor_one_is_less_so(channels):
    rows = torch.linspace(0, 1, 32)[:, None].expand(channels, 32, 32)
    mean, std = [0.4] * channels, [0.2] * channels
    image = ((rows - 0.4) / 0.2)[None]
    good, poor = (as_jpeg(image, quality=quality, mean=mean, std=std) for quality in (95, 1))
    assert good.shape == image.shape and good.dtype == image.dtype
    assert (good - image).abs().max() < 0.1 < (poor - image).abs().max()
    statistics = {"mean": mean, "std": std}
    classes = torch.tensor([0])
    noisy = torch.randn(1, 1, 32, 32, generator=torch.manual_seed(0)).expand(-1, channels, -1, -1)
    values = [
        stability(brightness, noisy, classes, quality=quality, statistics=statistics)["stability_jpeg"].item()
        for quality in (95, 1)
    ]
    assert 0.95 < values[0] <= 1 and values[1] < 0.7

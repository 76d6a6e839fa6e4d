import pytest
import torch

from engine.explain.attribution.extremal import LEVELS, MAX_BLUR, area_penalty, perturb, pyramid, smooth_masks
from engine.explain.attribution.registry import MethodSettings, build_explainer
from engine.explain.blur import blur


def test_a_mask_of_ones_keeps_the_picture_and_one_of_zeros_blurs_it(pictures):
    images = pictures(2, 32)
    levels = pyramid(images)
    assert levels.shape == (2, LEVELS, 3, 32, 32)
    ones = torch.ones(2, 1, 32, 32)
    torch.testing.assert_close(perturb(levels, ones), images)
    torch.testing.assert_close(perturb(levels, 0 * ones), blur(images, MAX_BLUR * 32))
    # half way between two levels it is their mean
    between = perturb(levels, ones * 2.5 / (LEVELS - 1))
    torch.testing.assert_close(between, (levels[:, 2] + levels[:, 3]) / 2, atol=1e-5, rtol=1e-5)


def test_a_mask_is_the_smooth_maximum_of_a_kernel():
    cells = torch.zeros(1, 1, 32, 32)
    cells[0, 0, 10, 10] = 1
    mask = smooth_masks(cells, (32, 32))[0][0, 0]
    assert mask[10, 10].item() == pytest.approx(1, abs=1e-3)
    assert mask[10, 11] == mask[10, 10]  # the kernel is flat up to half of sigma, 1.5 cells
    assert mask[10, 10] > mask[10, 13] > mask[10, 16] > mask[10, 19] == 0
    both = cells.clone()
    both[0, 0, 10, 12] = 1
    assert smooth_masks(both, (32, 32))[0].max() < 1.001  # a maximum, not a sum
    inside, whole = smooth_masks(torch.ones(1, 1, 32, 20), (70, 45))
    assert inside.shape == (1, 1, 70, 45) and inside.min() > 0.95
    assert whole.shape == (1, 1, 83, 58) and whole[0, 0, 0, 0] < 0.9  # three cells more on each side


def test_the_area_by_hand():
    masks = torch.tensor([0.9, 0.1, 0.5, 0.0]).view(1, 1, 2, 2)
    penalty = area_penalty(masks, 1, torch.zeros(4))  # sorted 0, 0.1, 0.5, 0.9 against 0, 0, 0, 1
    torch.testing.assert_close(penalty, torch.tensor([(0.01 + 0.25 + 0.01) / 4]))
    # of equal values, the one that the jitter puts last is kept
    flat = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    area_penalty(flat, 1, torch.tensor([0.0, 1e-3, 0, 0])).sum().backward()
    assert (flat.grad.flatten() < 0).tolist() == [False, True, False, False]


def test_it_finds_the_place_that_the_model_uses(corner, corner_share, pictures):
    corner.backbone.gain.data.fill_(20)
    options = MethodSettings(extremal_steps=60)
    maps = build_explainer("Extremal", corner, options=options)(pictures(2, 32), torch.tensor([[0, 2], [2, 0]]))
    assert corner_share(maps).min() > 0.8
    assert maps.mean((2, 3)).sub(0.1).abs().max() < 0.04  # the area asked for
    assert maps.min() >= 0 and maps.max() <= 1

import pytest
import torch
from captum.attr import Occlusion

from engine.explain.attribution.occlusion import windows
from engine.explain.attribution.registry import MethodSettings, build_explainer


def test_squares_leave_no_gap():
    assert windows(MethodSettings(occlusion_window=0.25, occlusion_stride=0.125), (64, 32)) == ([16, 8], [8, 4])
    assert windows(MethodSettings(occlusion_window=0.1, occlusion_stride=0.5), (40, 40)) == ([4, 4], [4, 4])
    assert windows(MethodSettings(occlusion_window=0.01, occlusion_stride=0.01), (8, 8)) == ([1, 1], [1, 1])


def test_a_pixel_gets_the_part_of_its_square_in_the_logit(pooled):
    """With a linear model and squares side by side, hiding a square removes its part from the logit."""
    images, targets = torch.randn(2, 3, 16, 16), torch.tensor([[0, 3], [2, 1]])
    options = MethodSettings(occlusion_window=0.25, occlusion_stride=0.25)
    maps = build_explainer("Occlusion", pooled, options=options)(images, targets)
    part = pooled.backbone.fc.weight.detach()[targets]  # (b, t, f)
    squares = torch.nn.functional.avg_pool2d(images, 4) / 16
    expected = torch.einsum("btf,bfhw->bthw", part, squares)
    torch.testing.assert_close(maps, expected.repeat_interleave(4, 2).repeat_interleave(4, 3), atol=1e-5, rtol=1e-4)


def test_it_finds_the_place_that_the_model_uses(corner, corner_share, pictures):
    maps = build_explainer("Occlusion", corner)(pictures(2, 32), torch.tensor([[0, 2], [2, 0]]))
    assert corner_share(maps).min() > 0.8
    assert maps[:, :, 24:, 24:].abs().max() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("size", [5, 64])
def test_the_maps_are_those_of_captum_where_the_last_square_is_cut(small, pictures, size, counted):
    images, targets = pictures(2, 32)[..., :29], torch.tensor([[0, 3], [2, 1]])
    options = MethodSettings(occlusion_window=0.3, occlusion_stride=0.2, batch_size=size)
    (height, width), (down, right) = windows(options, (32, 29))
    expected = [
        Occlusion(small.eval()).attribute(images, (3, height, width), (3, down, right), target=column)[:, 0]
        for column in targets.T
    ]
    seen = counted(small)
    maps = build_explainer("Occlusion", small, options=options)(images, targets)
    torch.testing.assert_close(maps, torch.stack(expected, 1).detach(), atol=1e-6, rtol=1e-5)
    assert sum(seen) == 2 + 2 * 5 * 5  # one of each square serves all classes

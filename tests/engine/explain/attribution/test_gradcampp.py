import weakref

import pytest
import torch
from torch.nn import functional as F

from engine.explain.attribution import gradients
from engine.explain.attribution.gradcampp import channel_weights, plain_weights
from engine.explain.attribution.gradients import layer_gradients
from engine.explain.attribution.registry import MethodSettings, build_explainer

TARGETS = torch.tensor([[0, 3]])


def test_the_coefficients_are_those_of_the_paper():
    """Against eq. 19, place by place."""
    generator = torch.Generator().manual_seed(0)
    grad = torch.randn(1, 2, 2, 3, generator=generator, dtype=torch.float64)
    features = torch.rand(1, 2, 2, 3, generator=generator, dtype=torch.float64)
    grad[0, 0, 0, 0] = 0
    for channel in range(2):
        expected = 0.0
        for g in grad[0, channel].flatten():
            if g > 0:
                expected += float(g**2 / (2 * g**2 + features[0, channel].sum() * g**3) * g)
        found = channel_weights(grad, grad**2, grad**3, features)[0, channel]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_small_gradients_keep_their_proportions():
    """The gradients of a large map are small, their squares and cubes far smaller: no epsilon may outweigh them."""
    grad, features = torch.full((1, 1, 9, 9), 1e-6), torch.ones(1, 1, 9, 9)
    weight = channel_weights(grad, grad**2, grad**3, features)
    torch.testing.assert_close(weight, torch.tensor([[81 * 1e-6 / (2 + 81e-6)]]))


def test_a_linear_head_in_closed_form(pooled):
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    features, gradient = F.avg_pool2d(images, 4), pooled.backbone.fc.weight.detach()[TARGETS] / 16  # (b, t, f)
    alpha = 1 / (2 + features.sum((2, 3))[:, None] * gradient)
    expected = torch.einsum("btf,bfhw->bthw", 16 * alpha * gradient.relu(), features)
    torch.testing.assert_close(build_explainer("GradCAMpp", pooled)(images, TARGETS), expected)
    # a linear model has the same gradients at noisy pictures, and the features are those of the clean one
    smooth = build_explainer("SmoothGradCAMpp", pooled, options=MethodSettings(smooth_samples=3))
    torch.testing.assert_close(smooth(images, TARGETS), expected)


def test_without_noise_the_smooth_form_equals_the_plain_one(small, pictures):
    options = MethodSettings(smooth_std=0.0, smooth_samples=2)
    maps = [build_explainer(name, small, options=options)(pictures(2, 32), TARGETS.expand(2, -1))
            for name in ("GradCAMpp", "SmoothGradCAMpp")]  # fmt: skip
    torch.testing.assert_close(*maps)
    assert maps[0].max() > 0


@pytest.mark.parametrize("largest", [1, 1500, 2**20])
def test_gradients_of_many_classes_at_once_are_those_of_one_at_a_time(small, pictures, monkeypatch, largest):
    monkeypatch.setattr("engine.explain.attribution.gradients.MAX_GRADIENTS", largest)
    monkeypatch.setattr("engine.explain.attribution.gradcampp.MAX_SUMS", 64 * largest)
    images, targets = pictures(2, 32), torch.tensor([[0, 3, 4, 1], [2, 1, 0, 3]])
    for name in ("GradCAMpp", "SmoothGradCAMpp"):
        explain = build_explainer(name, small, options=MethodSettings(smooth_samples=2))
        single = torch.cat([explain(images, column[:, None]) for column in targets.T], 1)
        torch.testing.assert_close(explain(images, targets), single, atol=1e-6, rtol=1e-5)


def test_the_short_form_of_the_weights_equals_the_long_one():
    generator = torch.Generator().manual_seed(0)
    grad = torch.randn(3, 2, 4, 5, 5, generator=generator)
    features = torch.randn(2, 4, 5, 5, generator=generator)
    torch.testing.assert_close(plain_weights(grad, features), channel_weights(grad, grad**2, grad**3, features))


def test_the_gradients_of_many_classes_are_not_kept_together(small, pictures, monkeypatch):
    monkeypatch.setattr("engine.explain.attribution.gradients.MAX_GRADIENTS", 1)
    made, whole = [], gradients._gradient

    def remembered(*given):
        found = whole(*given)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(gradients, "_gradient", remembered)
    targets = torch.tensor([[0, 3, 4, 1]])
    for part in layer_gradients(small, pictures(1, 32), targets)[1]:
        assert part.shape[0] == 1 and sum(reference() is not None for reference in made) <= 2
    assert len(made) == 4

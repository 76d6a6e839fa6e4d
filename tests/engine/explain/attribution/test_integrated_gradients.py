import pytest
import torch
from captum.attr import IntegratedGradients

from engine.explain.attribution.registry import MethodSettings, build_explainer

TARGETS = torch.tensor([[0, 3], [2, 1]])


@pytest.mark.parametrize("size", [3, 64])
def test_the_maps_are_those_of_captum(small, pictures, size):
    images = pictures(2, 32)
    maps = build_explainer("IntegratedGradients", small, options=MethodSettings(ig_steps=7, batch_size=size))(
        images, TARGETS
    )
    for number, column in enumerate(TARGETS.T):
        expected = IntegratedGradients(small.eval()).attribute(images, target=column, n_steps=7).sum(1)
        torch.testing.assert_close(maps[:, number], expected.float(), atol=1e-6, rtol=1e-5)


def test_one_forward_pass_of_a_point_serves_all_classes(small, pictures, counted):
    seen = counted(small)
    build_explainer("IntegratedGradients", small, options=MethodSettings(ig_steps=6))(pictures(2, 32), TARGETS)
    assert sum(seen) == 12

import pytest
import torch

from engine.explain.blur import blur


@pytest.mark.parametrize("size", [(2, 2), (1, 5), (9, 4), (64, 48)])
def test_any_size_can_be_blurred_and_a_constant_stays_constant(size):
    torch.testing.assert_close(blur(torch.full((1, 2, *size), 3.0), 20.0), torch.full((1, 2, *size), 3.0))
    assert blur(torch.randn(1, 2, *size), 1.0).shape == (1, 2, *size)


def test_a_point_becomes_a_gaussian():
    point = torch.zeros(1, 1, 15, 15)
    point[0, 0, 7, 7] = 1
    blurred = blur(point, 2.0)
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)
    assert (blurred[0, 0, 7, 9] / blurred[0, 0, 7, 7]).item() == pytest.approx(
        torch.exp(torch.tensor(-0.5)).item(), rel=1e-4
    )
    assert torch.equal(blur(point, 0.0), point)

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from dataset.blur import Blur, blur_bands, blurred


def gaussian_blur(pixels, *, sigma, size):
    """Blur one picture."""
    return blurred(pixels[None], *blur_bands([Blur(sigma, size)], pixels.shape[-2:]))[0]


@pytest.mark.parametrize("shape", [(3, 30, 40), (1, 65, 32), (3, 33, 2), (3, 1, 20)])
@pytest.mark.parametrize("sigma", [0.1, 0.7, 1.9, 3.0])
def test_it_agrees_with_torchvision(shape, sigma):
    image = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = F.gaussian_blur(image, [min(19, 2 * side - 1) for side in shape[:0:-1]], [sigma, sigma])
    found = gaussian_blur(image, sigma=sigma, size=19)
    assert found.dtype == torch.float32 and torch.equal(found, found.round())
    wrong = (found - expected).abs()
    assert wrong.max() <= 1 and (wrong > 0).float().mean() < 0.01  # of rounding


def test_a_kernel_of_three_weights_by_hand():
    image = torch.zeros(1, 3, 4)
    image[0, 1, 0] = 1000
    # Weights exp(-d^2 / 2) / (1 + 2 exp(-1 / 2)): .45186 in the middle and .27407 beside it. The point is seen twice
    # from the rows above and below it, since they are at the edge, where reflection repeats the inner neighbour.
    expected = [
        [248, 150, 0, 0],
        [204, 124, 0, 0],
        [248, 150, 0, 0],
    ]
    assert gaussian_blur(image, sigma=1.0, size=3)[0].tolist() == expected


def test_it_takes_any_memory_format_and_keeps_its_input():
    image = torch.randint(256, (8, 9, 3), dtype=torch.uint8).permute(2, 0, 1)
    before = image.clone()
    found, planes = (gaussian_blur(i, sigma=1.5, size=9) for i in (image, image.contiguous()))
    assert torch.equal(found, planes) and torch.equal(image, before)


@pytest.mark.parametrize(("height", "width"), [(33, 70), (1, 3), (45, 5)])
def test_each_picture_of_a_batch_has_its_own_kernel(height, width):
    images = torch.randint(256, (3, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    blurs = [Blur(0.5, 5), Blur(2.9, 9), Blur(2.0, 3)]
    found = blurred(images, *blur_bands(blurs, (height, width)))
    for image, blur, one in zip(images, blurs, found, strict=True):
        expected = gaussian_blur(image, sigma=blur.sigma, size=blur.size)
        assert (one - expected).abs().max() <= 1 and (one != expected).float().mean() < 0.01  # of rounding

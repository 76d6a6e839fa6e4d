import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from dataset.affine import AffineMap, affine_lines, affine_mapped


def affine_map(pixels, *, angle, scale, shift):
    """Map one picture, moved by pixels."""
    height, width = pixels.shape[-2:]
    change = AffineMap(angle, scale, (shift[0] / width, shift[1] / height))
    return affine_mapped(pixels[None], *affine_lines([change], (height, width)))[0]


@pytest.mark.parametrize("shape", [(3, 30, 40), (1, 7, 9), (3, 33, 2)])
@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, (0, 0)), (-9.5, 0.85, (3, -2)), (170, 1.3, (0, 1))])
def test_it_agrees_with_torchvision(shape, angle, scale, shift):
    image = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = F.affine(image, angle, list(shift), scale, [0, 0], interpolation=InterpolationMode.BILINEAR)
    found = affine_map(image, angle=angle, scale=(scale, scale), shift=shift)
    assert found.dtype == torch.float32 and torch.equal(found, found.round())
    wrong = (found - expected).abs()
    assert wrong.max() <= 1 and (wrong > 0).float().mean() < 0.01  # of rounding


def test_a_stretched_axis_by_hand():
    row = torch.tensor([[[10.0, 20, 30, 40]]]).expand(1, 3, 4)
    # Pixel centres are at -1.5, -0.5, 0.5, 1.5; stretched twofold and moved by half a pixel, they show -1, -.5, 0, .5.
    found = affine_map(row, angle=0, scale=(2, 1), shift=(0.5, 0))
    assert found.tolist() == [[[15, 20, 25, 30]] * 3]


def test_it_takes_channels_last_memory_and_keeps_its_input():
    image = torch.randint(256, (8, 9, 3), dtype=torch.uint8).permute(2, 0, 1)
    before = image.clone()
    found, planes = (affine_map(i, angle=20, scale=(0.9, 1.1), shift=(1, 2)) for i in (image, image.contiguous()))
    assert torch.equal(found, planes) and torch.equal(image, before)

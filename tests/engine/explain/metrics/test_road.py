import pytest
import torch

from engine.explain.metrics.imputation import impute, neighbour_sum
from engine.explain.metrics.road import road


def solved(image, removed):
    """The imputed picture (H, W) by a dense solver."""
    height, width = image.shape
    matrix, right = torch.eye(height * width, dtype=torch.float64), image.double().flatten().clone()
    for y, x in removed.nonzero().tolist():
        row = y * width + x
        matrix[row] = 0
        right[row] = 0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy or dx) and 0 <= y + dy < height and 0 <= x + dx < width:
                    weight = 1 / 12 if dy and dx else 1 / 6
                    matrix[row, row] += weight
                    matrix[row, (y + dy) * width + x + dx] = -weight
    return torch.linalg.solve(matrix, right).view(height, width)


def test_a_single_pixel_becomes_the_weighted_mean_of_its_neighbours():
    image = torch.tensor([[1.0, 2, 3], [4, 99, 6], [7, 8, 9]])
    removed = torch.zeros(1, 3, 3, dtype=torch.bool)
    removed[0, 1, 1] = True
    found = impute(image[None, None], removed, noise=0, seed=0)[0, 0]
    assert found[1, 1].item() == pytest.approx((1 + 3 + 7 + 9) / 12 + (2 + 4 + 6 + 8) / 6, abs=1e-3)
    assert torch.equal(found[~removed[0]], image[~removed[0]])
    corner = torch.zeros(1, 3, 3, dtype=torch.bool)
    corner[0, 0, 0] = True  # three neighbours: (2 + 4) / 6 + 99 / 12, divided by their weights
    found = impute(image[None, None], corner, noise=0, seed=0)[0, 0, 0, 0].item()
    assert found == pytest.approx((6 / 6 + 99 / 12) / (2 / 6 + 1 / 12), abs=1e-2)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputation_solves_the_equations(share):
    generator = torch.manual_seed(0)
    images = torch.randn(2, 3, 20, 28, generator=generator)
    removed = torch.rand(2, 20, 28, generator=generator) < share
    removed[1, 3:17, 4:26] = True  # and a wide hole
    found = impute(images, removed, noise=0, seed=0)
    for image, own, mask in zip(images, found, removed, strict=True):
        for channel, values in zip(image, own, strict=True):
            torch.testing.assert_close(values.double(), solved(channel, mask), atol=5e-3, rtol=0)


def test_imputation_is_as_exact_in_mixed_precision():
    images = torch.randn(1, 3, 16, 16, generator=torch.manual_seed(0))
    removed = torch.rand(1, 16, 16, generator=torch.manual_seed(1)) < 0.7
    expected = impute(images, removed, noise=0.1, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(impute(images, removed, noise=0.1, seed=0), expected)


def test_a_picture_without_a_pixel_becomes_noise_of_the_deviation():
    images = torch.full((1, 1, 100, 100), 5.0)
    found = impute(images, torch.ones(1, 100, 100, dtype=torch.bool), noise=0.01, seed=0)
    assert found.std().item() == pytest.approx(0.01, rel=0.05) and abs(found.mean().item()) < 1e-3
    assert torch.equal(impute(images, torch.zeros(1, 100, 100, dtype=torch.bool), noise=0.01, seed=0), images)


def test_the_neighbours_of_the_inside_have_weight_one():
    total = neighbour_sum(torch.ones(1, 1, 4, 4))[0, 0]
    assert total[1, 1] == pytest.approx(1) and total[0, 0] == pytest.approx(5 / 12)
    assert total[0, 1].item() == pytest.approx(3 / 6 + 2 / 12)


def test_imputation_agrees_with_quantus():
    functions = pytest.importorskip("quantus.functions.perturb_func", reason="Quantus is not installed")
    image = torch.randn(3, 12, 12, generator=torch.manual_seed(0))
    removed = torch.zeros(12, 12, dtype=torch.bool)
    removed[3:9, 2:10] = True
    ours = impute(image[None], removed[None], noise=0, seed=0)[0]
    indices = removed.flatten().nonzero()[:, 0].numpy()
    theirs = functions.noisy_linear_imputation(arr=image.numpy(), indices=indices, noise=0)
    torch.testing.assert_close(ours, torch.tensor(theirs).view(3, 12, 12).to(ours), atol=1e-2, rtol=0)


def left_logits(images):
    """The logit of class 1 is the mean of the left half; pictures are 1 there and 0 in the right half."""
    return torch.stack([torch.zeros(len(images)), 8 * images[..., :4].mean((1, 2, 3))], 1)


def test_road_by_hand(half_map):
    image, classes = half_map()[:, None], torch.tensor([1])  # (1, 1, 8, 8)
    # Half of the pixels are removed: LeRF leaves the left half, and the probability; MoRF imputes it from the right
    # half, which is black, so that logit and probability are 0 and 1/2, but for the noise.
    value = road(left_logits, image, half_map(), classes, steps=1, noise=0)
    sure = torch.tensor(8.0).sigmoid().item()
    assert value.item() == pytest.approx((sure - 0.5) / 2, abs=1e-3)
    other = road(left_logits, image, half_map().flip(2), classes, steps=1, noise=0)
    assert other.item() == pytest.approx(-value.item())
    one, two = (road(left_logits, image, half_map(), classes, noise=0.5, seed=seed) for seed in (0, 1))
    assert one != two


def test_road_does_not_depend_on_the_batches(network):
    model, images = network().eval(), torch.randn(4, 3, 12, 12)
    maps, classes = torch.rand(4, 12, 12), torch.tensor([0, 1, 2, 3])
    together = road(model, images, maps, classes, steps=3)
    torch.testing.assert_close(road(model, images, maps, classes, steps=3, batch_size=1), together)
    alone = road(model, images[1:2], maps[1:2], classes[1:2], steps=3)
    torch.testing.assert_close(alone, together[1:2], atol=1e-4, rtol=0)

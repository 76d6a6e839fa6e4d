import torch
from captum.metrics import infidelity as captum_infidelity

from engine.explain.metrics.infidelity import infidelity, squares


def test_infidelity_agrees_with_captum_on_the_same_squares(network):
    model = network().eval()
    images, classes = torch.randn(2, 3, 16, 16), torch.tensor([1, 3])
    maps = torch.rand(2, 16, 16)
    masks = squares((16, 16), samples=12, side=0.4, seed=3)
    ours = infidelity(model, images, maps, classes, samples=12, side=0.4, seed=3, batch_size=5)

    def perturb(inputs):  # captum repeats each picture as often as there are draws
        part = inputs * masks.repeat(2, 1, 1)[:, None]
        return part, inputs - part

    theirs = captum_infidelity(
        lambda x: model(x).softmax(1), perturb, images, maps[:, None].expand(-1, 3, -1, -1) / 3, target=classes,
        n_perturb_samples=12, normalize=True,
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-7)


def test_a_map_that_predicts_every_drop_has_no_infidelity(half_map):
    def linear(images):  # in the range of these pictures the probability is nearly linear
        return torch.stack([torch.zeros(len(images)), 1e-3 * images[:, :, :, :4].sum((1, 2, 3))], 1)

    images = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(0))
    true, false = half_map(), half_map().flip(2)
    scores = [infidelity(linear, images, m, torch.tensor([1]), side=0.3).item() for m in (true, false, 0 * true)]
    assert scores[0] < 1e-9 < scores[1] and scores[1] <= scores[2] * 1.0001


def test_squares_are_inside_and_of_their_size():
    masks = squares((12, 20), samples=50, side=0.25, seed=0)
    assert masks.shape == (50, 12, 20) and (masks.sum((1, 2)) == 9).all()
    assert len({mask.numpy().tobytes() for mask in masks}) > 30


def test_the_squares_reach_every_row_and_column():
    masks = squares((8, 6), samples=500, side=0.34, seed=0)  # (500, 8, 6)
    assert masks.any(0).all() and (masks.sum((1, 2)) == 4).all()

import torch

from engine.explain.attribution.igos import (
    BETA,
    L1,
    LONGEST_STEP,
    STEP_FACTOR,
    TV,
    backtrack,
    edge_weights,
    regulariser,
)
from engine.explain.attribution.registry import build_explainer


def test_the_regulariser_by_hand():
    masks = torch.ones(2, 1, 2, 2)
    masks[1, 0, 0, 0] = 0.5
    flat = edge_weights(torch.zeros(2, 3, 8, 8), (2, 2))
    penalty = regulariser(masks, flat)
    assert penalty[0] == 0
    # L1: a quarter of the mask is lower by a half; variation: in each direction one of two differences is a half
    torch.testing.assert_close(penalty[1], torch.tensor(L1 * 0.125 + TV * (0.125 + 0.125)))


def test_the_mask_may_change_at_edges():
    picture = torch.zeros(1, 3, 8, 8)
    picture[:, :, :, 4:] = 2
    down, right = edge_weights(picture, (2, 2))
    torch.testing.assert_close(down, torch.ones(1, 1, 1, 2))
    torch.testing.assert_close(right, torch.full((1, 1, 2, 1), 4.0).neg().exp())


def test_each_mask_takes_the_longest_step_that_is_good_enough():
    """One objective falls over the longest step, one only near the start, one never."""
    masks, direction = torch.full((3, 1, 1, 1), 0.9), torch.tensor([0.1, 0.1, -0.01]).view(3, 1, 1, 1)
    wanted = torch.tensor([0.0, 0.85, 0.9])
    calls = []

    def objective(masks, index):
        calls.append(index.tolist())
        return (masks.flatten() - wanted[index]).square()

    start = objective(masks, torch.arange(3))
    moved = backtrack(masks, direction, start, objective).flatten()
    torch.testing.assert_close(moved[0], torch.tensor(0.9 - LONGEST_STEP * 0.1))
    steps = [LONGEST_STEP * STEP_FACTOR**k for k in range(9)]
    first = next(s for s in steps if (0.05 - 0.1 * min(s, 9)) ** 2 <= 0.05**2 - s * BETA * 0.01)
    torch.testing.assert_close(moved[1], torch.tensor(0.9 - first * 0.1))
    assert moved[2].item() == masks[2].item()
    assert calls[1] == [0, 1, 2] and calls[2] == [1, 2]  # masks that have moved are not tried again


def test_it_finds_the_place_that_the_model_uses(corner, corner_share, pictures):
    """For class 2 only, since blurring the corner raises the probability of class 0."""
    maps = build_explainer("IGOS", corner)(pictures(2, 32), torch.tensor([[2], [2]]))
    assert maps.shape == (2, 1, 28, 28) and maps.min() >= 0 and maps.max() <= 1
    assert maps.amax((2, 3)).min() > 0.01
    assert corner_share(maps).min() > 0.95

import pytest
import torch
from torchcam import methods

from engine.explain.attribution.registry import MethodSettings, build_explainer
from engine.explain.attribution.score_cam import masked_logits


@pytest.mark.parametrize(("name", "arguments"), [
    ("ScoreCAM", {}), ("ISCAM", {"num_samples": 3}), ("SSCAM", {"num_samples": 2, "std": 2.0}),
])  # fmt: skip
def test_the_maps_are_those_of_torchcam(name, arguments, small, pictures):
    image = pictures(1, 32)
    small.eval()
    expected = []
    for wanted in (0, 3):
        torch.manual_seed(7)  # torchcam draws SS-CAM's noise from the global state
        with getattr(methods, name)(small, small.tap, batch_size=16, **arguments) as extractor, torch.no_grad():
            small(image)
            expected.append(extractor(wanted, normalized=False)[0])
    options = MethodSettings(is_samples=3, ss_samples=2, ss_std=2.0)
    maps = build_explainer(name, small, seed=7, options=options)(image, torch.tensor([[0, 3]]))
    torch.testing.assert_close(maps, torch.stack(expected, 1))
    assert maps.max() > 0


def test_a_mask_that_keeps_what_the_model_uses_has_a_higher_logit(corner, pictures):
    masks = torch.zeros(2, 8, 8)
    masks[0, :4, :4] = 1
    masks[1, 4:, 4:] = 1
    with torch.no_grad():
        logits = masked_logits(corner, pictures(1, 32)[0], masks, [lambda m: m, lambda m: 3 * m], 1)  # (f, c)
        one = masked_logits(corner, pictures(1, 32)[0], masks, [lambda m: m], 64)
    assert logits[0, 0] > 1 > 100 * logits[1, 2]
    torch.testing.assert_close(logits[:, 2], 2 * logits[:, 0])
    torch.testing.assert_close(logits, 2 * one)  # the mean of once and three times, for a model without bias

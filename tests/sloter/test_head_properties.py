"""What holds of the slot head whatever its options, shapes and weights."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sloter.slot_model import build_model

# Every option of the head, and values to draw it from.
OPTIONS = {
    "attention": st.sampled_from(["paper", "qknorm"]),
    "value_weighting": st.sampled_from(["mean", "equal"]),
    "position": st.sampled_from(["sine", "none"]),
    "salience": st.sampled_from([0.0, 0.5, 2.5]),
    "reference": st.sampled_from(["none", "min", "mean", "quantile"]),
    "reference_quantile": st.floats(0.5, 1),
    "logit_scale": st.floats(0.5, 30),
    "dropout": st.sampled_from([0.0, 0.3]),
    "loss_status": st.sampled_from([1, -1]),
    "hidden_dim": st.sampled_from([4, 8, 20]),
    "iters": st.integers(1, 3),
    "to_k_layers": st.integers(0, 2),
    "num_classes": st.integers(1, 7),
    "slots_per_class": st.integers(1, 3),
}
SIZES = st.tuples(st.integers(2, 6), st.integers(2, 6)).map(lambda grid: (8 * grid[0], 8 * grid[1]))
# Not shrunk: a smaller example of a failure is not worth the minutes that so many models take.
QUICK = settings(
    deadline=None, derandomize=True, database=None, max_examples=25, phases=[Phase.explicit, Phase.generate]
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _few_threads():
    """One, in place of the usual two: models this small are slower with more."""
    torch.set_num_threads(1)


def drawn_model(options, img_size, seed):
    """A model with random slots, some of them long, in evaluation mode."""
    torch.manual_seed(seed)
    model = build_model(backbone="test_resnet", out_stage=2, img_size=img_size, **options).eval()
    with torch.no_grad():
        model.slot.initial_slots.mul_(3 * torch.rand(len(model.slot.initial_slots), 1))
    return model


@torch.no_grad()
def explained(model, images):
    output = model(images)
    return output.logits.double(), output.attn.double(), output.values.double()


@QUICK
@given(st.fixed_dictionaries(OPTIONS), SIZES, st.integers(1, 3), st.integers(0, 10**6))
def test_the_explanation_is_the_score(options, img_size, b, seed):
    model = drawn_model(options, img_size, seed)
    logits, attn, values = explained(model, torch.randn(b, 3, *img_size))
    grid = (img_size[0] // 8, img_size[1] // 8)
    assert logits.shape == (b, options["num_classes"])
    assert attn.shape == (b, options["num_classes"], options["slots_per_class"], *grid)
    assert values.shape == (b, *grid)
    evidence = torch.zeros_like(logits)
    for slot in range(options["slots_per_class"]):
        for row in range(grid[0]):
            for column in range(grid[1]):
                evidence += attn[:, :, slot, row, column] * values[:, row, column, None]
    torch.testing.assert_close(logits, options["loss_status"] * evidence, rtol=1e-4, atol=1e-6)
    if options["reference"] == "none":
        assert (evidence >= 0).all() and (attn >= 0).all() and (attn <= 1).all()
    if options["reference"] == "min":
        assert (attn.sum(2) >= -1e-6).all()


@QUICK
@given(st.fixed_dictionaries(OPTIONS), SIZES, st.integers(0, 10**6))
def test_a_batch_is_its_pictures_one_by_one(options, img_size, seed):
    model = drawn_model(options, img_size, seed)
    images = torch.randn(3, 3, *img_size)
    together, alone = explained(model, images), [explained(model, image[None]) for image in images]
    for whole, *parts in zip(together, *alone, strict=True):
        # The published form divides by sums that may be near zero, so that rounding shows.
        torch.testing.assert_close(whole, torch.cat(parts), rtol=5e-2, atol=5e-3)


@QUICK
@given(st.fixed_dictionaries({**OPTIONS, "num_classes": st.just(4), "slots_per_class": st.just(2)}), SIZES,
       st.integers(0, 10**6))  # fmt: skip
def test_classes_whose_slots_change_places_change_places(options, img_size, seed):
    model = drawn_model(options, img_size, seed)
    images = torch.randn(2, 3, *img_size)
    logits, attn, _ = explained(model, images)
    order = [2, 0, 3, 1]
    with torch.no_grad():  # two neighbours are the slots of a class
        model.slot.initial_slots.copy_(model.slot.initial_slots[[4, 5, 0, 1, 6, 7, 2, 3]].clone())
    moved, moved_attn, _ = explained(model, images)
    torch.testing.assert_close(moved, logits[:, order], rtol=5e-2, atol=5e-3)
    torch.testing.assert_close(moved_attn, attn[:, order], rtol=5e-2, atol=5e-3)

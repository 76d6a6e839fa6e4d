import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from torch import nn
from torchcam.methods import CAM
from torchcam.metrics import DeletionInsertionMetric

from engine.explain.metrics.bootstrap import bootstrap_interval
from engine.explain.metrics.infidelity import infidelity, squares
from engine.explain.metrics.insertion_deletion import insertion_deletion, replacing
from engine.explain.metrics.on_object import on_object
from engine.explain.metrics.sensitivity import max_sensitivity


class Mean(nn.Module):
    """Two classes; the logit of class 1 is the mean of the picture times ten, that of class 0 is zero."""

    def forward(self, images):
        return torch.stack([torch.zeros(len(images)), 10 * images.mean((1, 2, 3))], 1)


def half_map(size=8):
    """Marks the left half."""
    maps = torch.zeros(1, size, size)
    maps[:, :, : size // 2] = 1
    return maps


def test_precision_by_hand():
    maps = torch.zeros(1, 4, 4)
    maps[0, 0] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    maps[0, 3, 3] = -5  # what speaks against counts for nothing
    boxes = torch.tensor([[0.0, 0.0, 1.0, 4.0], [2.0, 0.0, 4.0, 1.0]])
    found = on_object(maps, [boxes])
    assert found["precision"].item() == pytest.approx(0.4)  # the better of 4/10 and 3/10
    assert found["energy"].item() == pytest.approx(0.7)
    assert found["pointing"].item() == 1
    assert on_object(maps, [boxes[1:]])["pointing"].item() == 0
    assert all(v.item() == 0 for v in on_object(torch.zeros(1, 4, 4), [boxes]).values())


def test_a_random_and_a_perfect_map_bracket_the_rest():
    box = torch.tensor([[2.0, 2.0, 6.0, 6.0]])
    perfect = torch.zeros(1, 8, 8)
    perfect[:, 2:6, 2:6] = 1
    noise = torch.rand(1, 8, 8, generator=torch.manual_seed(0))
    half = on_object(perfect + 0.2 * noise, [box])["precision"]
    assert on_object(perfect, [box])["precision"] == 1
    assert 0.15 < on_object(noise, [box])["precision"] < half < 1
    # The share of a map that is everywhere alike is that of the box in the picture.
    assert on_object(torch.ones(1, 8, 8), [box])["precision"].item() == pytest.approx(16 / 64)


def test_insertion_and_deletion_by_hand():
    # White on the marked left half: after half of the pixels nothing changes any more.
    images = half_map()[:, None].expand(1, 3, 8, 8)
    classes = torch.tensor([[1, 0]])
    steps = 64
    _, deletion = insertion_deletion(Mean(), images, half_map(), classes, steps=steps)
    left = torch.tensor([10 * max(0.5 - k / 64, 0) for k in range(steps + 1)])
    expected = torch.trapezoid(left.sigmoid(), dx=1 / steps)
    assert deletion[0, 0].item() == pytest.approx(expected.item(), abs=1e-6)
    assert deletion[0, 1].item() == pytest.approx(1 - expected.item(), abs=1e-6)
    # The blurred start has the same mean but for the border: the class is as likely all along.
    insertion, _ = insertion_deletion(Mean(), torch.ones_like(images), half_map(), classes, steps=steps)
    assert insertion[0, 0].item() == pytest.approx(torch.tensor(10.0).sigmoid().item(), abs=1e-5)


def test_the_right_order_beats_the_wrong_one_and_chance_is_between():
    images = half_map()[:, None].expand(1, 3, 8, 8)
    noise = torch.rand(1, 8, 8, generator=torch.manual_seed(0))
    scores = [
        torch.stack(insertion_deletion(Mean(), images, maps, torch.tensor([[1]])))[:, 0, 0].tolist()
        for maps in (half_map(), noise, -half_map())
    ]
    insertions, deletions = zip(*scores, strict=True)
    assert insertions[0] > insertions[1] > insertions[2] and deletions[0] < deletions[1] < deletions[2]


def test_a_uniform_map_takes_pixels_in_reading_order():
    images = torch.ones(1, 3, 8, 8)
    fractions, p = replacing(
        Mean(),
        images,
        images,
        torch.zeros_like(images),
        torch.ones(1, 8, 8),
        torch.tensor([[1]]),
        steps=4,
        batch_size=2,
    )
    torch.testing.assert_close(fractions, torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=fractions.dtype))
    torch.testing.assert_close(p[0, 0], (10 * (1 - torch.tensor([0, 0.25, 0.5, 0.75, 1.0]))).sigmoid())


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_deletion_and_insertion_agree_with_torchcam(batch_size):
    model = network().eval()
    images, classes = torch.randn(3, 3, 20, 20), torch.tensor([0, 2, 3])
    with CAM(model, "1", "4") as extractor:
        metric = DeletionInsertionMetric(extractor, lambda out: out.softmax(-1), steps=20)
        metric.update(images, classes.tolist())
        model(images)
        maps = extractor(classes.tolist())[0]
    theirs = metric.summary()
    start = torch.zeros_like(images)
    ours = []
    for first, last in ((start, images), (images, start)):
        fractions, p = replacing(model, images, first, last, maps, classes[:, None], steps=20, batch_size=batch_size)
        ours.append(torch.trapezoid(p, fractions.float(), dim=2).mean().item())
    assert ours == pytest.approx([theirs["insertion_auc"], theirs["deletion_auc"]], abs=1e-5)


def test_infidelity_agrees_with_captum_on_the_same_squares():
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


def test_a_map_that_tells_every_drop_has_no_infidelity():
    def linear(images):  # in the range of these pictures the probability is all but linear
        return torch.stack([torch.zeros(len(images)), 1e-3 * images[:, :, :, :4].sum((1, 2, 3))], 1)

    images = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(0))
    true, false = half_map(), half_map().flip(2)
    scores = [infidelity(linear, images, m, torch.tensor([1]), side=0.3).item() for m in (true, false, 0 * true)]
    assert scores[0] < 1e-9 < scores[1] and scores[1] <= scores[2] * 1.0001


def test_squares_are_inside_and_of_their_size():
    masks = squares((12, 20), samples=50, side=0.25, seed=0)
    assert masks.shape == (50, 12, 20) and (masks.sum((1, 2)) == 9).all()
    assert len({mask.numpy().tobytes() for mask in masks}) > 30


def test_sensitivity_agrees_with_captum_on_the_same_changes():
    weight = torch.randn(3, 5, 5, generator=torch.manual_seed(1))

    def explainer(images, targets):
        return ((images * weight).sum(1, keepdim=True) ** 2).expand(-1, targets.shape[1], -1, -1)

    images, classes = torch.randn(2, 3, 5, 5), torch.tensor([0, 1])
    ours = max_sensitivity(explainer, images, classes, samples=6, radius=0.1, seed=5)
    generator = torch.Generator().manual_seed(5)
    changes = torch.stack([(torch.rand(3, 5, 5, generator=generator) * 2 - 1) * 0.1 for _ in range(6)])

    def explain(inputs):  # captum passes a tuple of one
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        return (explainer(images, torch.zeros(len(images), 1, dtype=torch.long)),)

    def perturb(inputs, radius):  # each picture as often as there are changes
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        return images + changes.repeat(len(images) // 6, 1, 1, 1)

    theirs = sensitivity_max(explain, images, perturb_func=perturb, n_perturb_samples=6)
    torch.testing.assert_close(ours, theirs)


def test_sensitivity_by_hand():
    images, classes = torch.ones(1, 1, 4, 4), torch.tensor([0])
    constant = max_sensitivity(lambda x, t: torch.ones(len(x), 1, 2, 2), images, classes)
    nothing = max_sensitivity(lambda x, t: torch.zeros(len(x), 1, 2, 2), images, classes)
    linear = max_sensitivity(lambda x, t: x, images, classes, radius=0.1)
    answers = iter([torch.zeros(1, 1, 2, 2), *10 * [torch.ones(1, 1, 2, 2)]])
    assert max_sensitivity(lambda x, t: next(answers), images, classes).item() == 2  # not infinite
    assert constant.item() == nothing.item() == 0 and 0.03 < linear.item() <= 0.1


def test_scores_do_not_depend_on_the_other_pictures_of_the_batch():
    model, images = network().eval(), torch.randn(3, 3, 16, 16)
    maps, classes = torch.rand(3, 16, 16), torch.tensor([0, 1, 2])

    def scores(rows):
        i, m, c = images[rows], maps[rows], classes[rows]
        return torch.stack([
            *(a[:, 0] for a in insertion_deletion(model, i, m, c[:, None], steps=10)), infidelity(model, i, m, c),
            max_sensitivity(lambda x, t: x.mean(1, keepdim=True).abs(), i, c),
        ])  # fmt: skip

    torch.testing.assert_close(scores(slice(None))[:, 1:2], scores(slice(1, 2)))


def test_the_bootstrap_interval_of_a_mean():
    values = torch.randn(400, generator=torch.manual_seed(0), dtype=torch.float64)
    low, high = bootstrap_interval(values.tolist())
    half = 1.96 * values.std().item() / 20
    assert low == pytest.approx(values.mean().item() - half, abs=0.02)
    assert high == pytest.approx(values.mean().item() + half, abs=0.02)
    assert bootstrap_interval([0.5] * 10) == (0.5, 0.5)
    assert bootstrap_interval(values.tolist()) == (low, high)

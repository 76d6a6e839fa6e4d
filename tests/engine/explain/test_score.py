from types import SimpleNamespace

import pytest
import torch

from engine.explain.score import score_maps, summary
from engine.explain.settings import MetricSettings

QUICK = MetricSettings(steps=8, infidelity_samples=4, sensitivity_samples=2, blur_sigma=1)


def corner_pictures(count=6):
    """Pictures that are bright in one of three corners, which is their class."""
    images, labels = torch.zeros(count, 3, 8, 8), torch.arange(count) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = divmod(label, 2)
        image[:, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4] = 1
    return images, labels


def corner_logits(images):
    corners = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4).flatten(1)  # (b, 4)
    return 8 * corners[:, :3]


def corner_maps(images, targets):
    """(b, t, 2, 2): the brightness of the corner of each class."""
    grid = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)  # (b, 1, 2, 2)
    marks = torch.eye(4)[targets].view(*targets.shape, 2, 2)
    return grid * marks


def batches(images, labels, size):
    parts = zip(images.split(size), labels.split(size), torch.arange(len(labels)).split(size), strict=True)
    return [SimpleNamespace(images=i, labels=y, numbers=n) for i, y, n in parts]


def box_of(number):
    top, left = divmod(number % 3, 2)
    return torch.tensor([[4.0 * left, 4.0 * top, 4.0 * left + 4, 4.0 * top + 4]])


def scores(size=2, **options):
    loader = batches(*corner_pictures(), size)
    config = {"boxes": box_of, "settings": QUICK, **options}
    return score_maps(config.pop("explainer", corner_maps), corner_logits, loader, **config)


def test_a_perfect_explainer_scores_perfectly():
    for number, record in enumerate(scores(num_classes=3)):
        assert record["number"] == number
        assert record["area"] == pytest.approx(1 / 4)  # one of four corners, at full strength
        assert record["precision"] > 0.6 and record["pointing"] == 1  # bilinear: some mass beyond the corner
        assert record["iauc"] > 0.85 and record["dauc"] < 0.5


@pytest.mark.parametrize("size", [1, 4, 6])
def test_scores_do_not_depend_on_the_batches(size):
    expected, found = scores(), scores(size=size)
    for one, two in zip(expected, found, strict=True):
        assert one == pytest.approx(two)


def test_a_map_of_another_picture_scores_worse():
    def shifted(images, targets):
        return corner_maps(images.roll(1, 0), targets.roll(1, 0))

    right, wrong = (summary(scores(size=6, explainer=e), QUICK) for e in (corner_maps, shifted))
    assert wrong["precision"] < 0.5 * right["precision"] and wrong["pointing"] < right["pointing"] == 1
    assert wrong["iauc"] < right["iauc"] and wrong["dauc"] > right["dauc"]


def test_the_model_sees_normalised_pictures_only():
    seen = []

    def logits(images):
        seen.append((images.min().item(), images.max().item()))
        return corner_logits(images)

    images, labels = corner_pictures()
    normalised = (images - 0.5) / 0.25  # -2 to 2
    score_maps(corner_maps, logits, batches(normalised, labels, 3), settings=QUICK, batch_size=1)
    assert min(low for low, _ in seen) == -2 and max(high for _, high in seen) == 2
    # Deleted pixels become zero, the mean colour, not black, which would be -2.
    assert any(low == 0 or high == 0 for low, high in seen)


def test_another_class_can_be_explained_and_the_true_one_is_measured_too():
    explained = torch.tensor([1, 2, 0])
    records = scores(explained=explained, num_classes=3)
    assert all(record["iauc"] < 0.1 < 0.9 < record["iauc_true"] + 0.1 for record in records)
    assert {"iauc_true", "dauc_true"} <= set(summary(records, QUICK))
    assert "iauc_true" not in scores()[0]


def test_the_area_is_that_of_the_map_among_those_of_all_classes():
    def weak(images, targets):  # the map of the explained class is a tenth of another's
        return torch.where(targets[..., None, None] == 0, 1.0, 0.1) * torch.ones(1, 1, 2, 2)

    images, labels = torch.zeros(1, 3, 8, 8), torch.tensor([1])

    def area(explainer, num_classes):
        loader = batches(images, labels, 1)
        return score_maps(explainer, corner_logits, loader, num_classes=num_classes, settings=QUICK)[0]["area"]

    assert area(weak, 3) == 0  # the lowest of all the values
    assert area(lambda i, t: weak(i, t) * torch.tensor([[1.0, 0], [0, 0]]), 3) == pytest.approx(0.1 / 4)
    assert area(lambda i, t: weak(i, t) * torch.tensor([[1.0, 0], [0, 0]]), None) == pytest.approx(1 / 4)


def test_a_uniform_map_has_the_area_and_the_curves_that_theory_gives():
    def uniform(images, targets):  # 1 everywhere for class 0, 0 for the others
        return (targets[..., None, None] == 0).float() * torch.ones(len(images), 1, 2, 2)

    def mean_logits(images):
        return torch.stack([8 * images.mean((1, 2, 3)), torch.zeros(len(images))], 1)

    loader = batches(torch.ones(1, 3, 8, 8), torch.tensor([0]), 1)
    settings = MetricSettings(steps=64, infidelity_samples=2, blur_sigma=1)
    record = score_maps(uniform, mean_logits, loader, num_classes=2, settings=settings)[0]
    assert record["area"] == score_maps(uniform, mean_logits, loader, settings=settings)[0]["area"] == 1
    # All pixels are equal: the logit falls linearly in any order, and a blurred white picture is white.
    shares = torch.linspace(0, 1, 65)
    assert record["dauc"] == pytest.approx(torch.trapezoid((8 * (1 - shares)).sigmoid(), shares).item(), abs=1e-5)
    assert record["iauc"] == pytest.approx(torch.tensor(8.0).sigmoid().item(), abs=1e-5)
    assert record["sensitivity"] == 0


def test_a_constant_added_to_a_map_that_is_scaled_by_itself_changes_nothing():
    raised, plain = (scores(explainer=lambda i, t, o=o: corner_maps(i, t) + o)[0] for o in (2.0, 0.0))
    assert raised["precision"] == pytest.approx(plain["precision"]) and raised["area"] == pytest.approx(plain["area"])


def test_pictures_without_boxes_have_no_precision_and_count_for_the_rest():
    records = scores(boxes=lambda number: box_of(number) if number < 2 else None)
    assert ["precision" in record for record in records] == [True] * 2 + [False] * 4
    means = summary(records, QUICK)
    assert means["images"] == 6 and means["precision"] == pytest.approx(records[0]["precision"], rel=0.5)
    low, high = means["intervals"]["iauc"]
    assert low <= means["iauc"] <= high and means["settings"]["steps"] == 8

"""Figures by class, calibration and intervals."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.functional import classification as tm

from engine import classification as cl


def drawn(n=60, c=3, seed=0, present=None):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(present or c, (n,), generator=generator)
    logits = torch.randn(n, c, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, c)
    return (logits * 4).round().div(4), labels


# Two classes, worked out by hand: true 0 0 0 1, probability of class 1: .2 .4 .7 .6
PAIR = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.4, 0.6]]).log(), torch.tensor([0, 0, 0, 1])


def resampled(logits, labels, counts):
    return cl._resampled(logits.argmax(1), torch.stack([*cl.class_ranks(logits)], 1), labels, counts, logits.shape[1])


def test_the_ranks_of_a_model_whose_probabilities_are_all_1_are_those_of_its_logits():
    margins = torch.tensor([90.0, 200.0, 100.0, 100.0, -90.0], dtype=torch.float64)
    logits = torch.stack([margins, 0 * margins, 0 * margins - 1000], 1)
    assert logits.softmax(1)[:4, 0].eq(1).all()
    assert (next(cl.class_ranks(logits)) * 5).tolist() == [1, 3, 2, 2, 0]
    labels = torch.tensor([1, 0, 0, 0, 1])
    figures = cl.class_figures(logits, labels)
    assert figures["auroc"][:2].tolist() == [1, 1] and figures["auroc"][2].isnan()


def test_figures_of_two_classes_by_hand():
    figures = {name: values.tolist() for name, values in cl.class_figures(*PAIR).items()}
    assert figures["pictures"] == [3, 1]
    assert figures["precision"] == pytest.approx([1, 0.5]) and figures["recall"] == pytest.approx([2 / 3, 1])
    assert figures["f1"] == pytest.approx([0.8, 2 / 3]) and figures["specificity"] == pytest.approx([1, 2 / 3])
    assert figures["auroc"] == pytest.approx([2 / 3, 2 / 3])  # two of three pairs are in order
    assert cl.summary(cl.class_figures(*PAIR))["balanced_accuracy"] == pytest.approx(5 / 6)


def test_calibration_error_by_hand_and_the_bins_of_its_diagram():
    confidence = cl.confidences(PAIR[0])
    assert confidence.tolist() == pytest.approx([0.8, 0.6, 0.7, 0.6])  # .7 is of a mistake; .6 is in one bin
    error = cl.calibration_error(confidence, torch.tensor([True, True, False, True]))
    assert error == pytest.approx((0.2 + 0.4 + 0.4 + 0.7) / 4)
    certain = cl.confidences(torch.tensor([[20.0, 0.0], [20.0, 0.0], [3.0, 0.0], [3.0, 0.0]]))  # 1, 1, .953, .953
    error = cl.calibration_error(certain, torch.tensor([True, False, True, True]))  # all in the last bin, from .933
    assert error == pytest.approx((1 + 1 + 2 / (1 + math.exp(-3))) / 4 - 3 / 4)
    logits, labels = drawn(200)
    record = cl.record_of(logits, labels, ["a", "b", "c"])
    assert sum(row["pictures"] for row in record["calibration"]) == 200
    gaps = sum(row["pictures"] * abs(row["accuracy"] - row["confidence"]) for row in record["calibration"]) / 200
    assert gaps == pytest.approx(record["ece"], abs=1e-6)
    whole = tm.multiclass_calibration_error(logits.softmax(1), labels, 3, n_bins=15)
    assert record["ece"] == pytest.approx(float(whole), abs=1e-6)


def test_figures_are_those_of_torchmetrics():
    logits, labels = drawn(200, c=4)
    logits = logits.double() + torch.randn(200, 4, generator=torch.Generator().manual_seed(1))  # without equal ones
    expected = tm.multiclass_auroc(logits.softmax(1), labels, 4, average=None)
    figures = cl.class_figures(logits, labels)
    torch.testing.assert_close(figures["auroc"], expected.double())
    logits[:, 2] = -9  # a class that is never predicted
    figures = cl.class_figures(logits, labels)
    functions = {"precision": tm.multiclass_precision, "recall": tm.multiclass_recall, "f1": tm.multiclass_f1_score,
                 "specificity": tm.multiclass_specificity}  # fmt: skip
    for name, function in functions.items():
        expected = function(logits.argmax(1), labels, 4, average=None)
        torch.testing.assert_close(figures[name], expected.double(), rtol=1e-6, atol=1e-6)
    assert figures["precision"][2] == 0


def test_nothing_but_the_logits_has_a_number_for_each_picture_and_class():
    """For 50,000 pictures of 1,000 classes, each further such tensor takes 0.4 GB."""
    n, c = 4000, 200
    assert n * c > cl.MAX_FOR_AUROC and cl.ROWS * c < n * c / 2 and n * c > 2 * cl.CHUNK
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
            for out in found if isinstance(found, tuple | list) else (found,):
                if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in given:
                    largest = max(largest, out.numel())
            return found

    logits, labels = drawn(n, c=c)
    with Sizes():
        cl.record_of(logits, labels, [str(k) for k in range(c)])
    assert n < largest <= max(cl.ROWS * c, cl.CHUNK)


def test_a_class_without_pictures_has_no_figures_and_does_not_count():
    logits, labels = drawn(c=4, present=3)
    record = cl.record_of(logits, labels, ["a", "b", "c", "d"])
    assert record["by_class"]["d"] == {"pictures": 0, **dict.fromkeys(cl.COLUMNS)}
    three = [row for name, row in record["by_class"].items() if name != "d"]
    for name, of in zip(cl.SUMMARY, ("recall", "f1", "auroc"), strict=True):
        assert record[name] == pytest.approx(sum(row[of] for row in three) / 3)
        assert record["intervals"][name][0] < record[name] < record["intervals"][name][1]


@pytest.mark.parametrize("c", [1, 2])
def test_a_single_class_has_no_specificity_nor_auroc(c):
    record = cl.record_of(torch.zeros(5, c), torch.zeros(5, dtype=torch.long), ["a", "b"][:c])
    row = record["by_class"]["a"]
    assert row["pictures"] == 5 and row["recall"] == 1 and row["auroc"] is None and row["specificity"] is None
    assert record["macro_auroc"] is None and "macro_auroc" not in record["intervals"]
    assert record["ece"] == pytest.approx(1 - 1 / c)
    assert "macro AUROC" not in cl.summary_line(record, 1.0)


def test_a_resample_of_all_pictures_has_the_figures_themselves():
    logits, labels = drawn(c=4, present=3)
    once = resampled(logits, labels, torch.ones(1, 60, dtype=torch.float64))
    for name, value in cl.summary(cl.class_figures(logits, labels)).items():
        assert float(once[name]) == pytest.approx(value, abs=1e-6), name


def test_a_resample_counts_a_picture_as_often_as_it_was_drawn():
    logits, labels = drawn(c=3)
    counts = torch.randint(3, (2, 60), generator=torch.Generator().manual_seed(1))
    both = resampled(logits, labels, counts.double())
    for row, times in enumerate(counts):
        chosen = torch.arange(60).repeat_interleave(times)
        for name, value in cl.summary(cl.class_figures(logits[chosen], labels[chosen])).items():
            assert float(both[name][row]) == pytest.approx(value, abs=1e-6), name


def test_intervals_do_not_depend_on_how_many_resamples_are_computed_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(40, 3, generator=generator), torch.randint(3, (40,), generator=generator)
    whole = cl.intervals(logits, labels)
    for chunk in (1, 40 * 7, 10**7):
        monkeypatch.setattr(cl, "CHUNK", chunk)
        assert cl.intervals(logits, labels) == whole


def test_the_interval_of_the_accuracy_is_about_that_of_a_proportion():
    labels = torch.zeros(400, dtype=torch.long)
    logits = torch.tensor([[0.9, 0.1]] * 320 + [[0.1, 0.9]] * 80)
    low, high = cl.intervals(logits, labels)["top1"]
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert low == pytest.approx(0.8 - half, abs=0.006) and high == pytest.approx(0.8 + half, abs=0.006)
    assert cl.intervals(logits, labels)["top1"] == [low, high]

"""References over classes, and the parts of the evidence above and below them, by hand."""

import pytest
import torch

from sloter.reference import class_quantile, evidence_parts, two_ranks, two_ranks_on_cpu, upper_reference


def column(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("c", "quantile", "expected"),
    [
        (2, 0.9, 0.5),  # of 0, 1: their mean
        (3, 0.9, 1.0),  # of 0, 1, 2: the median
        (4, 0.9, 2.0),  # of 0 .. 3: the second largest
        (10, 0.9, 8.0),
        (11, 0.9, 9.0),
        (21, 0.9, 18.0),  # linear interpolation of 0 .. 20
        (25, 0.9, 21.6),
        (1000, 0.9, 899.1),
        (1000, 1.0, 998.0),
        (5, 0.5, 2.0),
        (6, 0.5, 2.5),
    ],
)
@pytest.mark.parametrize("ranks", [two_ranks, two_ranks_on_cpu])
def test_quantile_over_classes(c, quantile, expected, ranks):
    order = torch.randperm(c, generator=torch.Generator().manual_seed(c))
    maps = torch.arange(c, dtype=torch.float32)[order].view(1, c, 1)
    assert float(class_quantile(maps, quantile, ranks)) == pytest.approx(expected, abs=1e-3)


def test_the_gradient_of_two_ranks_goes_to_their_classes_by_hand():
    maps = torch.tensor([[[5.0, 1.0], [7.0, 2.0], [6.0, 3.0], [4.0, 4.0]]])  # four classes at two places
    for ranks in (two_ranks, two_ranks_on_cpu):
        leaf = maps.clone().requires_grad_()
        found = ranks(leaf, 1)
        assert found.tolist() == [[[6.0, 3.0], [5.0, 2.0]]]
        (found * torch.tensor([[1.0], [10.0]])).sum().backward()
        assert leaf.grad.tolist() == [[[10.0, 0.0], [0.0, 10.0], [1.0, 1.0], [0.0, 0.0]]]
    assert two_ranks_on_cpu(torch.ones(1, 4, 1), 1).tolist() == [[[1.0], [1.0]]]  # equal values count each


def test_the_other_references():
    maps = column(3, 1, 8)
    assert [float(upper_reference(maps, kind, 0.9)) for kind in ("none", "min", "mean")] == [0, 1, 4]
    assert float(upper_reference(column(7), "min", 0.9)) == 0  # a single class is compared with none
    with pytest.raises(ValueError, match="unknown reference 'max': choose one of none, min, mean, quantile"):
        upper_reference(maps, "max", 0.9)


def test_parts_of_five_classes_by_hand():
    # Above the second largest value: 9, 4, 2, 1, 0 minus 4.
    parts = evidence_parts(column(5, 0, -2, -3, -4), sign=1, kind="quantile", quantile=1.0)
    assert parts.why.flatten().tolist() == [5, 0, 0, 0, 0]
    assert parts.why_not.flatten().tolist() == [0, 0, 0, 0, 1]  # below the second smallest
    assert parts.common.flatten().tolist() == [0, 0, -2, -3, -3]


def test_a_negative_model_mirrors_the_parts():
    positive = evidence_parts(column(5, 0, -2, -3, -4), sign=1, kind="quantile", quantile=1.0)
    negative = evidence_parts(column(5, 0, -2, -3, -4), sign=-1, kind="quantile", quantile=1.0)
    assert torch.equal(negative.why_not, positive.why) and torch.equal(negative.why, positive.why_not)
    assert torch.equal(negative.common, -positive.common)


@pytest.mark.parametrize("kind", ["none", "min", "mean", "quantile"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("c", [1, 2, 3, 4, 10, 1000])
def test_the_parts_sum_to_the_evidence_and_do_not_overlap(kind, sign, c):
    maps = torch.randn(2, c, 3, 5, generator=torch.Generator().manual_seed(0))
    evidence = maps - upper_reference(maps, kind, 0.9)
    parts = evidence_parts(evidence, sign=sign, kind=kind, quantile=0.9)
    torch.testing.assert_close(parts.why - parts.why_not + parts.common, sign * evidence, rtol=0, atol=1e-6)
    assert (parts.why >= 0).all() and (parts.why_not >= 0).all() and (parts.why * parts.why_not == 0).all()
    if kind == "quantile" and c > 2:  # each side is of few classes
        limit = max(0.1 * (c - 1), 1) + 1
        assert (parts.why > 0).sum(1).amax() <= limit and (parts.why_not > 0).sum(1).amax() <= limit

"""Reference of the evidence, shared by all classes, and the parts of the evidence that lie above and below it.

A softmax does not see what all classes share: any map R (h, w) may be subtracted from the evidence of every class
without a change of a probability. What lies above a high R is evidence for the class that few other classes have; what
lies below a low R is evidence against it that few others have; the rest is common to the classes.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sloter.config import REFERENCES

ROUNDING = 1e-6  # of the largest evidence of a picture
TWO_SIDED = ("mean", "quantile")  # with these there is evidence for and against a class


def upper_reference(maps: Tensor, kind: str, quantile: float) -> Tensor:
    """Compute the upper reference at each place from the maps of all classes.

    Args:
        maps: (b, c, ...).
        kind: ``none``, ``min``, ``mean`` or ``quantile``.
        quantile: see :func:`class_quantile`; only ``quantile`` uses it.

    Returns:
        (b, 1, ...); zeros for ``none``, and for a single class, which has nothing to be compared with.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in REFERENCES:
        raise ValueError(f"unknown reference '{kind}': choose one of {', '.join(REFERENCES)}")
    if kind == "none" or maps.shape[1] == 1:
        return torch.zeros_like(maps[:, :1])
    if kind == "quantile":
        return class_quantile(maps, quantile)
    return maps.amin(1, keepdim=True) if kind == "min" else maps.mean(1, keepdim=True)


def two_ranks(maps: Tensor, rank: int) -> Tensor:
    """Take the values of a rank and of the next one over the classes, at each place; the largest value has rank 0.

    Args:
        maps: (b, c, ...).
        rank: at most c - 2.

    Returns:
        (b, 2, ...).
    """
    return maps.topk(rank + 2, dim=1).values[:, rank:]


def two_ranks_on_cpu(maps: Tensor, rank: int) -> Tensor:
    """:func:`two_ranks` for maps on a CPU, three times as fast with 10,000 classes; it cannot be compiled or exported.

    Where ``topk`` sorts, NumPy's partition only separates, with vector instructions.
    """
    values = maps.detach().movedim(1, -1).contiguous().numpy()  # (b, ..., c)
    lower = values.shape[-1] - rank - 2  # place of the next rank in ascending order
    parted = np.partition(values, lower, axis=-1)
    found = parted[..., lower + 1 :].min(-1), parted[..., lower]  # (b, ...) each
    classes = np.stack([(values == value[..., None]).argmax(-1) for value in found], 1)  # (b, 2, ...)
    return maps.gather(1, torch.from_numpy(classes))


def class_quantile(maps: Tensor, quantile: float, ranks: Callable[[Tensor, int], Tensor] = two_ranks) -> Tensor:
    """Compute a quantile of at least .5 over classes, at each place.

    It is interpolated linearly, but it is at most the second largest value, so that one class can lie above it however
    few there are, and at least the median. With 2 classes it is their mean, with 3 their median, with 4 to 11 at .9 the
    second largest value; 1 means the second largest of any number.

    Args:
        maps: (b, c, ...), c at least 2.
        quantile: in [.5, 1].
        ranks: :func:`two_ranks` or an equal of it.

    Returns:
        (b, 1, ...).
    """
    last = maps.shape[1] - 1
    place = min(max((1 - quantile) * last, 1.0), last / 2)  # counted from the largest value, which has place 0
    high = math.floor(place + 1e-6)  # (1 - .9) * 20 is 1.9999999999999996
    share = max(place - high, 0.0)
    upper, lower = ranks(maps, high).split(1, dim=1)
    return torch.lerp(upper, lower, share)


class EvidenceParts(NamedTuple):
    """Parts of the evidence of every class; ``logits == (why - why_not + common).sum((-2, -1))``.

    ``why`` and ``why_not`` are not negative, and at each place at most one of them is not zero.
    """

    why: Tensor  # (b, c, h, w), for the class
    why_not: Tensor  # (b, c, h, w), against the class
    common: Tensor  # (b, c, h, w), between the lower and the upper reference


def evidence_parts(evidence: Tensor, *, sign: int, kind: str, quantile: float) -> EvidenceParts:
    """Split the evidence of a slot model, which is measured from the upper reference of its attention.

    Args:
        evidence: (b, c, h, w); its sum over the grid is the logit, for a negative model minus the logit.
        sign: 1 for a positive model, -1 for a negative one, whose positive evidence is evidence against the class.
        kind, quantile: the reference of the model. With ``quantile`` the lower reference is the mirrored quantile; the
            other kinds have only one, so that nothing is common.
    """
    lower = torch.zeros_like(evidence[:, :1])
    if kind == "quantile":
        lower = -upper_reference(-evidence, kind, quantile).clamp_min(0)
    # The slots of a class share the reference, so that a class at the reference is beside zero by a rounding error.
    slack = ROUNDING * evidence.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
    above = torch.where(evidence > slack, evidence, 0.0)
    below = torch.where(lower - evidence > slack, lower - evidence, 0.0)
    common = evidence - above + below
    if sign < 0:
        return EvidenceParts(below, above, -common)
    return EvidenceParts(above, below, common)

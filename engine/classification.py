"""Figures of a classifier over a split: by class, balanced, calibrated, with bootstrap intervals."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional import classification as tm

BINS = 15  # of the confidence, for the calibration error
RESAMPLES = 1000  # of the pictures, for the intervals
ROWS = 1000  # pictures whose numbers are in double precision at once
CHUNK = 3 * 10**5  # numbers of a step over resamples: they stay in the cache, which is four times as fast
MAX_FOR_AUROC = 10**5  # pictures times classes; its intervals would take minutes beyond
COLUMNS = ("precision", "recall", "f1", "specificity", "auroc")
TITLES = {
    "top1": "top-1",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "macro_auroc": "macro AUROC",
}
SUMMARY = ("balanced_accuracy", "macro_f1", "macro_auroc")


def class_ranks(logits: Tensor) -> Iterator[Tensor]:
    """Rank (n) of each picture by its probability of a class, from 0 to below 1, for one class after the other.

    Equal probabilities have the same rank. The ranks are those of the log-odds, since many probabilities of a confident
    model are 1 in any precision.

    Args:
        logits: (n, c).
    """
    best, n = logits.argmax(1), len(logits)
    totals, rests = [], []
    for part, own in zip(logits.split(ROWS), best.split(ROWS), strict=True):
        part = part.double()
        totals.append(part.logsumexp(1))
        rests.append(part.scatter(1, own[:, None], -torch.inf).logsumexp(1))
    total, rest = torch.cat(totals), torch.cat(rests)  # (n) of all classes, and of all but the best one
    for k in range(logits.shape[1]):
        logit = logits[:, k].double()
        log_p = logit - total
        log_odds = torch.where(best == k, logit - rest, log_p - torch.log1p(-log_p.exp()))
        yield log_odds.unique(return_inverse=True)[1].double() / n


def confidences(logits: Tensor) -> Tensor:
    """Probability (n) of the predicted class."""
    return torch.cat([part.double().softmax(1).amax(1) for part in logits.split(ROWS)])


def class_figures(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Figures of each class against all others, NaN where they are not defined.

    Args:
        logits: (n, c).
        labels: (n).

    Returns:
        ``pictures`` and each of :data:`COLUMNS`, (c) each. A class without pictures has none of them; a class that is
        never predicted has a precision of 0. AUROC needs pictures of other classes, too, and so does specificity.
    """
    predicted, (n, c) = logits.argmax(1), logits.shape
    # torchmetrics would build a matrix of classes by classes, which takes 3.5 GB for 21,000 of them.
    own, guesses, hits = (
        classes.bincount(minlength=c).double() for classes in (labels, predicted, labels[predicted == labels])
    )
    found = {
        "precision": hits / guesses.clamp_min(1), "recall": hits / own, "f1": 2 * hits / (own + guesses),
        "specificity": (n - own - guesses + hits) / (n - own),
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes without pictures, which have no figures here
        areas = [tm.binary_auroc(ranks, (labels == k).long(), validate_args=False)
                 for k, ranks in enumerate(class_ranks(logits))]  # fmt: skip
        found["auroc"] = torch.stack(areas)
    defined = dict.fromkeys(COLUMNS, own > 0)
    for name in ("specificity", "auroc"):
        defined[name] = defined[name] & (own < n)
    found = {name: values.double().where(defined[name], torch.nan) for name, values in found.items()}
    return {"pictures": own.long(), **found}


def summary(figures: dict[str, Tensor]) -> dict[str, float]:
    """Means over the classes that have pictures: balanced accuracy, macro F1 and macro AUROC."""
    return {name: float(figures[of].nanmean()) for name, of in zip(SUMMARY, ("recall", "f1", "auroc"), strict=True)}


def calibration_error(confidence: Tensor, right: Tensor) -> float:
    """Expected calibration error (Guo et al. 2017) of the predicted class, 15 bins of equal width.

    Args:
        confidence: (n), the probability of the predicted class.
        right: (n), whether the prediction is right.
    """
    gaps = (row["pictures"] * abs(row["confidence"] - row["accuracy"]) for row in reliability(confidence, right))
    return sum(gaps) / len(confidence)


def reliability(confidence: Tensor, right: Tensor) -> list[dict[str, float]]:
    """Mean confidence, accuracy and number of pictures of each bin that has any; arguments as of the error."""
    hits = right.double()
    bins = ((confidence.double() * BINS).ceil().long() - 1).clamp(0, BINS - 1)
    return [
        {"confidence": float(confidence[bins == b].mean()), "accuracy": float(hits[bins == b].mean()),
         "pictures": int((bins == b).sum())}
        for b in bins.unique().tolist()
    ]  # fmt: skip


def intervals(logits: Tensor, labels: Tensor, *, seed: int = 0) -> dict[str, list[float]]:
    """95 % intervals over pictures: percentiles of 1000 samples of the pictures with replacement.

    Returns:
        Low and high end of ``top1`` and of each of :data:`SUMMARY`; without ``macro_auroc`` for very many pictures.
    """
    predicted = logits.argmax(1)
    ranks = torch.stack([*class_ranks(logits)], 1) if logits.numel() <= MAX_FOR_AUROC else None
    parts = [_resampled(predicted, ranks, labels, counts, logits.shape[1]) for counts in _resamples(len(labels), seed)]
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return {name: v[~v.isnan()].quantile(ends).tolist() for name, v in found.items() if not v.isnan().all()}


def _resamples(n: int, seed: int) -> Iterator[Tensor]:
    """How often each of n pictures is in each resample: chunks (r, n), of :data:`RESAMPLES` in all."""
    generator, done = torch.Generator().manual_seed(seed), 0
    while done < RESAMPLES:
        r = min(RESAMPLES - done, max(1, CHUNK // n))
        drawn = torch.randint(n, (r, n), generator=generator)
        yield torch.zeros(r, n, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(r, n, dtype=torch.float64))
        done += r


def _resampled(
    predicted: Tensor, ranks: Tensor | None, labels: Tensor, counts: Tensor, c: int
) -> dict[str, Tensor]:  # fmt: skip
    """Figures (r) of r resamples, given as the number of times (r, n) that each picture is in each."""
    n = len(labels)
    right = counts * (predicted == labels)

    def by_class(values: Tensor, classes: Tensor) -> Tensor:
        return torch.zeros(len(values), c, dtype=values.dtype).index_add_(1, classes, values)  # (r, c)

    own, hits = by_class(counts, labels), by_class(right, labels)
    f1 = (2 * hits / (own + by_class(counts, predicted))).where(own > 0, torch.nan)
    found = {"top1": right.sum(1) / n, "balanced_accuracy": (hits / own).nanmean(1), "macro_f1": f1.nanmean(1)}
    if ranks is not None:
        present = labels.unique().tolist()
        found["macro_auroc"] = torch.stack([_auroc(ranks[:, k], labels == k, counts) for k in present]).nanmean(0)
    return found


def _auroc(scores: Tensor, positive: Tensor, counts: Tensor) -> Tensor:
    """AUROC (r) of resamples: the share of pairs in which the positive picture has the higher score (n)."""
    values, place = scores.unique(return_inverse=True)
    ranked = torch.zeros(2, len(counts), len(values), dtype=counts.dtype)
    pos, neg = (
        part.index_add_(1, place, counts * own) for part, own in zip(ranked, (positive, ~positive), strict=True)
    )
    below = neg.cumsum(1) - neg / 2  # equal scores count as half
    return (pos * below).sum(1) / (pos.sum(1) * neg.sum(1))  # NaN without pictures of both kinds


def record_of(logits: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Entries of ``results.json``; a figure that is not defined is None."""
    figures = class_figures(logits, labels)
    rows = {name: {key: _plain(figures[key][label]) for key in ("pictures", *COLUMNS)}
            for label, name in enumerate(names)}  # fmt: skip
    total = {name: _plain(torch.tensor(value)) for name, value in summary(figures).items()}
    confidence, right = confidences(logits), logits.argmax(1) == labels
    return {**total, "ece": calibration_error(confidence, right), "calibration": reliability(confidence, right),
            "by_class": rows, "intervals": intervals(logits, labels)}  # fmt: skip


def _plain(value: Tensor) -> float | int | None:
    return None if value.isnan() else value.item()


def summary_line(record: dict[str, Any], top1: float) -> str:
    """Line with the figures over all classes, each with its interval."""
    words = []
    for name, value in {"top1": top1, **{name: record[name] for name in SUMMARY}}.items():
        ends = record["intervals"].get(name)
        between = f" (95 % interval {ends[0]:.4f} to {ends[1]:.4f})" if ends else ""
        words += [f"{TITLES[name]} {value:.4f}{between}"] if value is not None else []
    return ", ".join([*words, f"calibration error {record['ece']:.4f}"])


def table_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the printed table by class; ``-`` where a figure is not defined."""
    return [{"class": name, **{key: "-" if value is None else value for key, value in row.items()}}
            for name, row in record["by_class"].items()]  # fmt: skip

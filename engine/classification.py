"""Figures of a classifier over a split: by class, balanced, calibrated, with bootstrap intervals; from torchmetrics."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional import classification as tm

BINS = 15  # of the confidence, for the calibration error
RESAMPLES = 1000  # of the pictures, for the intervals
CHUNK = 10**7  # numbers in memory at once
MAX_FOR_AUROC = 10**5  # pictures times classes; its intervals would take minutes beyond
COLUMNS = ("precision", "recall", "f1", "specificity", "auroc")
SUMMARY = ("balanced_accuracy", "macro_f1", "macro_auroc")


def class_figures(probabilities: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Figures of each class against all others, NaN where they are not defined.

    Args:
        probabilities: (n, c).
        labels: (n).

    Returns:
        ``pictures`` and each of :data:`COLUMNS`, (c) each. A class without pictures has none of them; a class that is
        never predicted has a precision of 0. AUROC needs pictures of other classes, too, and so does specificity.
    """
    c = probabilities.shape[1]
    if c == 1:  # torchmetrics takes two classes or more; the second one has no pictures
        return {name: values[:1] for name, values in
                class_figures(torch.cat([probabilities, 0 * probabilities], 1), labels).items()}  # fmt: skip
    options: dict[str, Any] = {"num_classes": c, "average": None, "validate_args": False}
    functions: dict[str, Callable[..., Tensor]] = {
        "precision": tm.multiclass_precision, "recall": tm.multiclass_recall, "f1": tm.multiclass_f1_score,
        "specificity": tm.multiclass_specificity, "auroc": tm.multiclass_auroc,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes without pictures, which have no figures here
        found = {name: function(probabilities, labels, **options) for name, function in functions.items()}
    pictures = labels.bincount(minlength=c)
    defined = dict.fromkeys(COLUMNS, pictures > 0)
    for name in ("specificity", "auroc"):
        defined[name] = defined[name] & (pictures < len(labels))
    found = {name: values.double().where(defined[name], torch.nan) for name, values in found.items()}
    return {"pictures": pictures, **found}


def summary(figures: dict[str, Tensor]) -> dict[str, float]:
    """Means over the classes that have pictures: balanced accuracy, macro F1 and macro AUROC."""
    return {name: float(figures[of].nanmean()) for name, of in zip(SUMMARY, ("recall", "f1", "auroc"), strict=True)}


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Expected calibration error (Guo et al. 2017) of the predicted class, 15 bins of equal width."""
    c = max(probabilities.shape[1], 2)
    padded = torch.nn.functional.pad(probabilities, (0, c - probabilities.shape[1]))
    return float(tm.multiclass_calibration_error(padded, labels, c, n_bins=BINS, validate_args=False))


def reliability(probabilities: Tensor, labels: Tensor) -> list[dict[str, float]]:
    """Mean confidence, accuracy and number of pictures of each bin that has any."""
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    bins = ((confidence.double() * BINS).ceil().long() - 1).clamp(0, BINS - 1)
    return [
        {"confidence": float(confidence[bins == b].mean()), "accuracy": float(right[bins == b].mean()),
         "pictures": int((bins == b).sum())}
        for b in bins.unique().tolist()
    ]  # fmt: skip


def intervals(probabilities: Tensor, labels: Tensor, *, seed: int = 0) -> dict[str, list[float]]:
    """95 % intervals over pictures: percentiles of 1000 samples of the pictures with replacement.

    Returns:
        Low and high end of ``top1`` and of each of :data:`SUMMARY`; without ``macro_auroc`` for very many pictures.
    """
    parts = [_resampled(probabilities, labels, counts) for counts in _resamples(len(labels), seed)]
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


def _resampled(probabilities: Tensor, labels: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Figures (r) of r resamples, given as the number of times (r, n) that each picture is in each."""
    n, c = probabilities.shape
    predicted = probabilities.argmax(1)
    right = counts * (predicted == labels)

    def by_class(values: Tensor, classes: Tensor) -> Tensor:
        return torch.zeros(len(values), c, dtype=values.dtype).index_add_(1, classes, values)  # (r, c)

    own, hits = by_class(counts, labels), by_class(right, labels)
    f1 = (2 * hits / (own + by_class(counts, predicted))).where(own > 0, torch.nan)
    found = {"top1": right.sum(1) / n, "balanced_accuracy": (hits / own).nanmean(1), "macro_f1": f1.nanmean(1)}
    if n * c <= MAX_FOR_AUROC:
        present = labels.unique().tolist()
        found["macro_auroc"] = torch.stack([_auroc(probabilities[:, k], labels == k, counts) for k in present]).nanmean(
            0
        )
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


def record_of(probabilities: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Entries of ``results.json``; a figure that is not defined is None."""
    figures = class_figures(probabilities, labels)
    rows = {name: {key: _plain(figures[key][label]) for key in ("pictures", *COLUMNS)}
            for label, name in enumerate(names)}  # fmt: skip
    total = {name: _plain(torch.tensor(value)) for name, value in summary(figures).items()}
    return {**total, "ece": calibration_error(probabilities, labels), "by_class": rows,
            "intervals": intervals(probabilities, labels)}  # fmt: skip


def _plain(value: Tensor) -> float | int | None:
    return None if value.isnan() else value.item()


def summary_line(record: dict[str, Any], top1: float) -> str:
    """Line with the figures over all classes, each with its interval."""
    words = []
    for name, value in {"top1": top1, **{name: record[name] for name in SUMMARY}}.items():
        ends = record["intervals"].get(name)
        between = f" (95 % interval {ends[0]:.4f} to {ends[1]:.4f})" if ends else ""
        words += (
            [f"{name.replace('_', ' ').replace('top1', 'top-1')} {value:.4f}{between}"] if value is not None else []
        )
    return ", ".join([*words, f"calibration error {record['ece']:.4f}"])


def table_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the printed table by class; ``-`` where a figure is not defined."""
    return [{"class": name, **{key: "-" if value is None else value for key, value in row.items()}}
            for name, row in record["by_class"].items()]  # fmt: skip

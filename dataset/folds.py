"""Folds of a cross-validation: pictures divided so that each class, or whole groups, are shared evenly."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dataset import DataError, Listing
from dataset.classes import composed, few
from dataset.held_out import all_pictures, keep_held_out, picture_names, say_others
from dataset.tables import read_columns

logger = logging.getLogger(__name__)

SEED = 0  # independent of --seed, so that repeats of a run share their folds


def fold_listing(
    read: Callable[[str], Listing], split: str, root: Path | None, *, folds: int, fold: int, groups: str | None = None,
    held_out: Sequence[str] | None = None,
) -> Listing:  # fmt: skip
    """Training or validation pictures of a fold.

    Args:
        read: reads a split of the dataset; the folds divide its split ``all``.
        split: ``train`` for all folds but one, ``val`` for that one.
        root: folder of the data, from which pictures are named; None for data without files.
        folds: number of folds.
        fold: the fold that validates, from 1.
        groups: table of the group of each picture; a group is never divided. None for none.
        held_out: names of the validation pictures of a trained model, which then validate whatever the other arguments.
            Data that have none of them are other data, which have their own split.

    Raises:
        DataError: there are too few pictures or groups, or the table does not have them all.
    """
    listing = read("all") if held_out is None else all_pictures(read)
    if listing is None:
        say_others(held_out or ())
        return read(split)
    names = picture_names(listing, root)
    if held_out is None:
        owners = read_groups(Path(groups), names) if groups else None
        members = assign_folds(listing.labels, folds, owners)
        held_out = [name for name, own in zip(names, members, strict=True) if own == fold - 1]
    found = keep_held_out(listing, names, held_out, split)
    if found is None:
        return read(split)
    where = listing.source or "the training pictures"
    text = f"fold {fold} of {folds} of {where}" if split == "val" else f"all but fold {fold} of {folds} of {where}"
    if split == "train" and (lost := sorted(set(listing.labels) - set(found.labels))):
        logger.warning("fold %d of %d holds out all pictures of %s", fold, folds,
                       few([listing.class_names[label] for label in lost]))  # fmt: skip
    return replace(found, source=text, held_out=tuple(held_out))


def read_groups(path: Path, names: Sequence[str]) -> list[str]:
    """Group of each picture, from a table with the columns ``file`` and ``group``.

    A file is given by its path from the folder of the data or by its name alone, which then counts for every picture of
    this name.

    Raises:
        DataError: the table cannot be read, or lacks a picture.
    """
    try:
        table = read_columns(path, ("file", "group"))
    except OSError as error:
        raise DataError(f"--groups {path} cannot be read ({error.strerror}): check the name") from error
    table = {composed(name).replace("\\", "/").removeprefix("./"): group for name, group in table.items()}
    found = [table.get(name) or table.get(name.rpartition("/")[2]) for name in names]
    lacking = [name for name, group in zip(names, found, strict=True) if group is None]
    if lacking:
        raise DataError(f"--groups {path}: {len(lacking)} of {len(names)} pictures have no line, such as {lacking[0]}: "
                        "add them")  # fmt: skip
    return [str(group) for group in found]


def assign_folds(labels: Sequence[int], folds: int, groups: Sequence[str] | None = None) -> list[int]:
    """Fold of each picture, from 0, with about the same share of each class in every fold.

    Without groups the sizes of a class in two folds differ by at most one, and so do those of all classes. Groups are
    taken from the largest to the smallest, each into the fold in which the classes are shared most evenly then.

    Raises:
        DataError: there are fewer pictures or groups than folds.
    """
    count = len(labels) if groups is None else len(set(groups))
    if count < folds:
        what = "pictures" if groups is None else "groups"
        raise DataError(f"--folds {folds}: there are only {count} {what}; give a smaller number")
    classes = np.asarray(labels)
    smallest, size = min(Counter(labels).items(), key=lambda entry: entry[1])
    if size < folds:
        logger.warning("class %d has %d pictures, fewer than the %d folds: some folds have none of it", smallest, size,
                       folds, extra={"once": True})  # fmt: skip
    if groups is not None:
        return _assign_groups(classes, folds, groups)
    found, done = np.zeros(len(classes), dtype=int), 0
    for label in np.unique(classes):
        order = np.random.default_rng([SEED, label]).permutation(np.flatnonzero(classes == label))
        found[order] = (done + np.arange(len(order))) % folds
        done += len(order)
    return [int(fold) for fold in found]


def _assign_groups(classes: np.ndarray, folds: int, groups: Sequence[str]) -> list[int]:
    names = sorted(set(groups))
    number = {name: index for index, name in enumerate(names)}
    owner = np.array([number[name] for name in groups])
    shares = np.zeros((len(names), classes.max() + 1))
    np.add.at(shares, (owner, classes), 1.0)
    sizes = shares.sum(1)
    shares /= np.maximum(shares.sum(0), 1)  # of each class, so that small ones count as much
    order = np.random.default_rng(SEED).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, pictures = np.zeros((folds, shares.shape[1])), np.zeros(folds)
    chosen = np.zeros(len(names), dtype=int)
    for group in order:
        trials = filled[None] + np.eye(folds)[:, :, None] * shares[group]  # (folds, folds, c)
        uneven = trials.std(1).sum(1).round(9)
        best = min(range(folds), key=lambda fold: (uneven[fold], pictures[fold]))
        chosen[group] = best
        filled[best] += shares[group]
        pictures[best] += sizes[group]
    if not pictures.all():
        raise DataError(f"--folds {folds}: the groups leave a fold without pictures; give a smaller number")
    return [int(fold) for fold in chosen[owner]]

"""Least similar class (LSC) of each class, whose map is measured for negative explanations (SCOUTER, section 4).

Similarity is that of Wu and Palmer (1994) in WordNet 3.0, ``2 d / (2 d + steps)``: d is the number of synsets from the
root to the lowest common ancestor, steps the number of steps from the two synsets up to it. Where synsets have several
hypernyms, the details are those of NLTK's ``wup_similarity`` (3.9), with bit-identical results: the lowest common
ancestor is the one whose *shortest* path from the root is longest, the first by name among equals; d is the length of
its *longest* path; the steps are those of the shortest paths to it, which may go above it and down again (from a dog to
vertebrate through domestic animal).
"""

import csv
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dataset import DataError
from dataset.classes import classes_called
from dataset.tables import read_text

TABLE = Path(__file__).parent / "wordnet" / "hypernyms.txt"


class _Synset(NamedTuple):
    """Row of the table: NLTK's name and the wnids of the direct hypernyms."""

    name: str
    hypernyms: tuple[str, ...]


class _Subsumer(NamedTuple):
    """Ancestor of a synset, or the synset itself."""

    wnid: str
    steps: int  # from the synset to this ancestor
    depth: int  # synsets from the root to this ancestor, both included


@cache
def _table() -> dict[str, _Synset]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = (line.split() for line in lines if not line.startswith("#"))
    return {wnid: _Synset(name, tuple(hypernyms)) for wnid, name, *hypernyms in rows}


@cache
def _depths(wnid: str) -> tuple[int, int]:
    """Number of synsets on the shortest and on the longest path from the root, both ends included."""
    depths = [_depths(hypernym) for hypernym in _table()[wnid].hypernyms]
    if not depths:
        return 1, 1
    return 1 + min(shortest for shortest, _ in depths), 1 + max(longest for _, longest in depths)


@cache
def _steps_up(wnid: str) -> dict[str, int]:
    """Steps of the shortest upward path from a synset to itself and to each of its ancestors."""
    if wnid not in _table():
        raise DataError(f"class {wnid} is not in {TABLE}: give the least similar classes in a file, --lsc FILE")
    steps = {wnid: 0}
    queue = [wnid]
    for synset in queue:  # the queue grows meanwhile: breadth first, so that the shortest path is found first
        for hypernym in _table()[synset].hypernyms:
            if hypernym not in steps:
                steps[hypernym] = steps[synset] + 1
                queue.append(hypernym)
    return steps


@cache
def _steps_to(wnid: str) -> dict[str, int]:
    """Steps of the shortest path to the same synsets, up and perhaps down again."""
    steps = _steps_up(wnid)
    # The path turns at an ancestor of its end that is also an ancestor of its start.
    return {end: min(steps[top] + down for top, down in _steps_up(end).items()) for end in steps}


@cache
def _subsumers(wnid: str) -> list[_Subsumer]:
    """List a synset and all its ancestors, the lowest first."""
    steps = _steps_to(wnid)
    # Among equally low ones NLTK takes the synset itself, then the first by name.
    order = sorted(steps, key=lambda synset: (-_depths(synset)[0], synset != wnid, _table()[synset].name))
    return [_Subsumer(synset, steps[synset], _depths(synset)[1]) for synset in order]


def wu_palmer(a: str, b: str) -> float:
    """Similarity of two synsets, above 0 and at most 1, as computed by NLTK's ``a.wup_similarity(b)``.

    It is symmetric for ImageNet's classes, but not for all of their ancestors. The similarity of a class to itself may
    be below 1: a dog is also a domestic animal, so that canine counts as lower than the dog.

    Args:
        a: wnid of an ImageNet class or of one of its ancestors, for instance ``n01440764``.
        b: likewise.

    Raises:
        DataError: one of them is not in the table.
    """
    steps = _steps_to(b)
    # There is always one: entity, the root of all nouns.
    lowest = next(subsumer for subsumer in _subsumers(a) if subsumer.wnid in steps)
    return 2 * lowest.depth / (2 * lowest.depth + lowest.steps + steps[lowest.wnid])


def least_similar(wnids: Sequence[str]) -> list[int]:
    """Index of the least similar other class for each class, the lowest index among equals.

    Args:
        wnids: wnid of each class, in the order of the class indices.

    Raises:
        DataError: a wnid is not in the table, or there is only one class.
    """
    if len(wnids) == 1:
        raise DataError(f"{wnids[0]} is the only class: the least similar class needs two classes or more")
    # Exact comparison of floats: equal fractions of small integers are the same float.
    return [
        min((other for other in range(len(wnids)) if other != index), key=lambda other: wu_palmer(wnid, wnids[other]))
        for index, wnid in enumerate(wnids)
    ]


def read_lsc(path: Path, class_names: Sequence[str]) -> list[int]:
    """Read the index of each class's least similar class from a file of lines ``class,other``.

    A tab or a semicolon may stand for the comma, and quotation marks around a class. Classes are given by name or by
    index, counted from 0; a name takes precedence. Lines may be in any order, with empty lines between them. Of
    several ways to divide a line, the first counts that gives two known classes.

    Args:
        path: the file.
        class_names: names of the classes, in the order of their indices.

    Raises:
        DataError: the file cannot be read; a line does not have two fields, has an unknown or ambiguous class, repeats
            a class, or gives a class as its own least similar class; or a class has no line.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"--lsc {path} cannot be read: it is not a file")
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        raise DataError(f"--lsc {path} cannot be read: {error.strerror}") from None
    least: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        source = f"{path}, line {number}"
        pairs = [[field.strip() for field in fields] for fields in _divisions(line) if len(fields) == 2]
        if not pairs:
            raise DataError(f"{source}: {line[:60]!r} is not two classes with a comma, a semicolon or a tab between")
        known = (pair for pair in pairs if all(_is_class(text, class_names) for text in pair))
        label, other = (_class_index(text, class_names, source) for text in next(known, pairs[0]))
        if label == other:
            raise DataError(
                f"{source}: class {class_names[label]!r} is given as its own least similar class: give another"
            )
        if label in least:
            raise DataError(f"{source}: class {class_names[label]!r} has a line already: keep only one")
        least[label] = other
    missing = [label for label in range(len(class_names)) if label not in least]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{path} has no line for class {missing[0]}, {class_names[missing[0]]!r}{more}: add one each")
    return [least[label] for label in range(len(class_names))]


def _divisions(line: str) -> Iterator[list[str]]:
    """Fields of a line, with each separator, and with and without regard to quotation marks."""
    for separator in "\t;,":
        yield line.split(separator)
        try:
            yield next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        except csv.Error:  # a field that is longer than any name
            continue


def _is_class(text: str, class_names: Sequence[str]) -> bool:
    return bool(classes_called(text, class_names)) or text in map(str, range(len(class_names)))


def _class_index(text: str, class_names: Sequence[str], source: str) -> int:
    """Index of the class with this name or index."""
    named = classes_called(text, class_names)
    if len(named) > 1:
        raise DataError(f"{source}: {text!r} is the name of classes {named[0]} and {named[1]}: give the index, or the "
                        "synset or number of the class")  # fmt: skip
    if named:
        return named[0]
    if text in map(str, range(len(class_names))):
        return int(text)
    raise DataError(f"{source}: unknown class {text!r}: give a class name or an index from 0 to {len(class_names) - 1}")

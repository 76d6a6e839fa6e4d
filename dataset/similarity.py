"""The least similar class (LSC) of each class, the one that a negative explanation explains (SCOUTER, section 4).

Similarity is that of Wu and Palmer (1994) in WordNet 3.0, 2 d / (2 d + steps): d counts the synsets from the root to
the lowest synset above both, steps those from the two up to it. NLTK's ``wup_similarity`` (3.9) settles what they
leave open, and the same floats come out: the lowest is the synset whose *shortest* way from the root is longest, of
several the first by name; d is the length of its *longest* way; steps are those of the shortest ways there, which may
go above it and down again where a synset has several hypernyms (from a dog to vertebrate through domestic animal).
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dataset import DataError

TABLE = Path(__file__).parent / "wordnet" / "hypernyms.txt"


class _Synset(NamedTuple):
    name: str
    hypernyms: tuple[str, ...]


class _Subsumer(NamedTuple):
    """A synset above another, or that one itself: steps to it, and synsets from the root down to it, itself too."""

    wnid: str
    steps: int
    depth: int


@cache
def _table() -> dict[str, _Synset]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = (line.split() for line in lines if not line.startswith("#"))
    return {wnid: _Synset(name, tuple(hypernyms)) for wnid, name, *hypernyms in rows}


@cache
def _depths(wnid: str) -> tuple[int, int]:
    """How many synsets the shortest and the longest way from the root have, both ends counted."""
    above = [_depths(hypernym) for hypernym in _table()[wnid].hypernyms]
    if not above:
        return 1, 1
    return 1 + min(shortest for shortest, _ in above), 1 + max(longest for _, longest in above)


@cache
def _steps_up(wnid: str) -> dict[str, int]:
    """Steps of the shortest way from a synset to itself and to each that is above it."""
    if wnid not in _table():
        raise DataError(f"class {wnid} is not in {TABLE}: give the least similar classes in a file, --lsc FILE")
    steps = {wnid: 0}
    queue = [wnid]
    for synset in queue:  # grows as it is read: breadth first, so that the shortest way comes first
        for hypernym in _table()[synset].hypernyms:
            if hypernym not in steps:
                steps[hypernym] = steps[synset] + 1
                queue.append(hypernym)
    return steps


@cache
def _steps_to(wnid: str) -> dict[str, int]:
    """Steps of the shortest way to the same synsets, up and down."""
    steps = _steps_up(wnid)
    # What is above a synset above is above too, so that both can turn round there.
    return {above: min(steps[top] + back for top, back in _steps_up(above).items()) for above in steps}


@cache
def _subsumers(wnid: str) -> list[_Subsumer]:
    """A synset and all above it, the lowest first."""
    steps = _steps_to(wnid)
    # Of those equally low NLTK takes the synset itself, then the first by name.
    order = sorted(steps, key=lambda above: (-_depths(above)[0], above != wnid, _table()[above].name))
    return [_Subsumer(above, steps[above], _depths(above)[1]) for above in order]


def wu_palmer(a: str, b: str) -> float:
    """Similarity of two synsets, above 0 and at most 1, as NLTK's ``a.wup_similarity(b)`` computes it.

    It is the same either way round for ImageNet's classes, but not for all synsets above them; and it is not 1 for each
    class and itself: canine is lower than a dog, which is also a domestic animal.

    Args:
        a: wnid of an ImageNet class or of a synset above one, such as ``n01440764``.
        b: likewise.

    Raises:
        DataError: one of them is not in the table.
    """
    steps = _steps_to(b)
    # There always is one: entity, the root of all nouns.
    lowest = next(subsumer for subsumer in _subsumers(a) if subsumer.wnid in steps)
    return 2 * lowest.depth / (2 * lowest.depth + lowest.steps + steps[lowest.wnid])


def least_similar(wnids: Sequence[str]) -> list[int]:
    """For each class the index of the other class that is least similar to it, of several the lowest.

    Args:
        wnids: of the classes used, in the order of their indices.

    Raises:
        DataError: a wnid is not in the table, or there is one class alone.
    """
    if len(wnids) == 1:
        raise DataError(f"{wnids[0]} is the only class: the least similar of the others needs two classes or more")
    # Floats are compared exactly, as equal fractions of small integers divide to the same float.
    return [
        min((other for other in range(len(wnids)) if other != index), key=lambda other: wu_palmer(wnid, wnids[other]))
        for index, wnid in enumerate(wnids)
    ]


def read_lsc(path: Path, class_names: Sequence[str]) -> list[int]:
    """For each class the index of its least similar class, from a file: a line ``class<tab or comma>other`` for each.

    Both are named as in ``class_names`` or given by index, counted from 0; what is the name of a class is read as
    the name. The lines may come in any order, with empty ones between; where a line has a tab, commas do not part it.

    Raises:
        DataError: the file cannot be read, a line has not two fields or names no class, an ambiguous one, one twice or
            one as its own least similar class, or a class has no line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"--lsc {path} cannot be read: {reason}") from None
    least: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        fields = line.split("\t" if "\t" in line else ",")
        if len(fields) != 2:
            raise DataError(f"{place}: {line!r} is not two classes with a tab or a comma between")
        label, other = (_class_index(field.strip(), class_names, place) for field in fields)
        if label == other:
            raise DataError(f"{place}: class {class_names[label]!r} is given as its own least similar class")
        if label in least:
            raise DataError(f"{place}: class {class_names[label]!r} has a line already: leave one")
        least[label] = other
    missing = [label for label in range(len(class_names)) if label not in least]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{path} has no line for class {missing[0]}, {class_names[missing[0]]!r}{more}: add one each")
    return [least[label] for label in range(len(class_names))]


def _class_index(text: str, class_names: Sequence[str], place: str) -> int:
    """The class that a name or an index means."""
    named = [index for index, name in enumerate(class_names) if name == text]
    if len(named) > 1:
        raise DataError(f"{place}: {text!r} is the name of classes {named[0]} and {named[1]}: give the index")
    if named:
        return named[0]
    if text in map(str, range(len(class_names))):
        return int(text)
    raise DataError(f"{place}: unknown class {text!r}: give a class name or an index from 0 to {len(class_names) - 1}")

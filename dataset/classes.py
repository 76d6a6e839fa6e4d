"""Names of classes: made distinct where two are the same, looked up, and matched between a model and its data."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from dataset import DataError, Listing

QUALIFIER = re.compile(r" \(([^()]+)\)$")  # the synset or number after a name that two classes have
MAX_NAMES_IN_MESSAGE = 5


def distinct_names(names: Sequence[str], ids: Sequence[object], *, ambiguous: Sequence[str] = ()) -> list[str]:
    """Class names in which a name of two classes, or one of ``ambiguous``, is followed by the class's id.

    Args:
        names: c names.
        ids: synset or number of each class.
        ambiguous: names that further classes have, which are not in ``names``.
    """
    shared = {name for name, count in Counter(names).items() if count > 1} | set(ambiguous)
    return [f"{name} ({own})" if name in shared else name for name, own in zip(names, ids, strict=True)]


def classes_called(text: str, names: Sequence[str]) -> list[int]:
    """Indices of the classes with this name; else with this synset or number, or with this name before it."""
    exact = [index for index, name in enumerate(names) if composed(name) == composed(text)]
    if exact:
        return exact
    return [index for index, name in enumerate(names)
            if (found := QUALIFIER.search(name)) and text in (found[1], name[: found.start()])]  # fmt: skip


def fingerprint(names: Sequence[str]) -> str:
    """Fingerprint of class names in their order, 12 hexadecimal digits."""
    return hashlib.sha256("\n".join(map(composed, names)).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def differing_names(first: Sequence[str], second: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names that only the first, and names that only the second of two lists has."""
    one, two = set(map(composed, first)), set(map(composed, second))
    return [name for name in first if composed(name) not in two], [name for name in second if composed(name) not in one]


def outputs_of(names: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Index in ``names`` of each wanted name; None if the two are not the same set of distinct names."""
    index = {composed(name): number for number, name in enumerate(names)}
    if [*map(composed, names)] == [*map(composed, wanted)]:
        return list(range(len(names)))
    if len(index) != len(names) or sorted(index) != sorted(map(composed, wanted)):
        return None
    return [index[composed(name)] for name in wanted]


def few(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - MAX_NAMES_IN_MESSAGE} more" if len(names) > MAX_NAMES_IN_MESSAGE else ""
    return ", ".join(names[:MAX_NAMES_IN_MESSAGE]) + more


def matched(
    listing: Listing, names: Sequence[str], *, selects: bool, complete: bool, wnids: Sequence[str] | None = None
) -> Listing:
    """Listing whose labels are the outputs of a model, matched by the names of the classes; unused ones have no name.

    Args:
        listing: all classes of a split.
        names: of the model's outputs.
        selects: pictures of further classes are left out, if the data have all classes of the model.
        complete: the data must have every class of the model.
        wnids: WordNet id of each output, if the model knows them.

    Raises:
        DataError: the classes differ; it gives the names.
    """
    place = _places(listing, names)
    present = set(listing.labels)
    found = {output for output in place if output is not None}
    unused = {output for output, name in enumerate(names) if name.removeprefix("output ") == str(output)}
    unused = unused if len(unused) < len(names) else set()  # else the classes are digits
    missing = [name for output, name in enumerate(names) if output not in found]
    needed = [name for output, name in enumerate(names) if output not in found | unused]
    extra = [listing.class_names[label] for label, output in enumerate(place) if output is None and label in present]
    if (extra and (missing if selects else True)) or (complete and needed):
        only = [f"the data have {few(extra)}, which the model does not"] if extra else []
        only += [f"the model has {few(missing)}, which the data do not"] if missing else []
        raise DataError(f"the classes of the data are not those of the checkpoint: {'; '.join(only)}: give data of the "
                        "classes that it was trained on, under the same names")  # fmt: skip
    chosen = listing.subset([index for index, label in enumerate(listing.labels) if place[label] is not None])
    of_output = {output: label for label, output in enumerate(place) if output is not None}
    named = max((o for o in range(len(names)) if o in found or o not in unused), default=-1) + 1
    own, known = listing.wnids, wnids
    if known is None and own is not None and len(found) == len(names):
        known = [own[of_output[output]] for output in range(len(names))]
    return replace(
        chosen,
        labels=[output for label in chosen.labels if (output := place[label]) is not None],
        class_names=[
            listing.class_names[of_output[o]] if o in of_output else name for o, name in enumerate(names[:named])
        ],
        wnids=None if known is None else list(known),
        class_ids=None,
    )


def _places(listing: Listing, names: Sequence[str]) -> list[int | None]:
    """Output of the model for each class of the data: by its name, else by its name and id, else by its bare name."""
    data, ids = listing.class_names, listing.wnids or listing.class_ids
    distinct = Counter(map(composed, names))
    index = {composed(name): output for output, name in enumerate(names) if distinct[composed(name)] == 1}
    place = [index.get(composed(name)) for name in data]
    if ids:
        for label, (name, own) in enumerate(zip(data, ids, strict=True)):
            if place[label] is None:
                place[label] = index.get(composed(f"{name} ({own})"))
    # Checkpoints of earlier versions have names without synset or number; classes of one name are in their order.
    bare = [QUALIFIER.sub("", name) for name in data]
    for name in {bare[label] for label, output in enumerate(place) if output is None}:
        labels = [label for label, other in enumerate(bare) if other == name and place[label] is None]
        outputs = [o for o, other in enumerate(names) if composed(other) == composed(name) and o not in place]
        if not ids or any(data[label] != f"{name} ({ids[label]})" for label in labels):
            continue
        for number, output in enumerate(outputs):
            near = labels if len(labels) == len(outputs) else _between(place, labels, output)
            if len(near) == 1 or len(labels) == len(outputs):
                place[near[number if len(near) > 1 else 0]] = output
    return place


def _between(place: list[int | None], labels: list[int], output: int) -> list[int]:
    """Those of ``labels`` that lie between the classes of the neighbouring outputs, as those of sorted synsets do."""
    low = max((label for label, other in enumerate(place) if other is not None and other < output), default=-1)
    high = min((label for label, other in enumerate(place) if other is not None and other > output), default=len(place))
    return [label for label in labels if low < label < high]


def composed(name: str) -> str:
    """Form of a name in which it is compared: with composed accents, since file systems store them in two ways."""
    return unicodedata.normalize("NFC", name)

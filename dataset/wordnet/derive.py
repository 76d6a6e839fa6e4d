"""Program that derives hypernyms.txt from WordNet: ``python dataset/wordnet/derive.py <folder with data.noun>``.

It reads the nouns of WordNet 3.0 (file format: manual page wndb(5WN)) and keeps the 1,000 synsets of ImageNet's
classes, as listed by timm, with all their ancestors. A wnid is ``n`` followed by the synset's offset in data.noun.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from timm.data import ImageNetInfo

TABLE = Path(__file__).with_name("hypernyms.txt")
HEADER = """\
# From WordNet 3.0, Copyright 2006 by Princeton University; its licence is in LICENSE. Made by derive.py.
# wnid, name, direct hypernyms
"""
POINTERS = ("@", "@i")  # hypernym, instance hypernym


class Synset(NamedTuple):
    """Noun synset: its first word in lower case and the wnids of its direct hypernyms."""

    word: str
    hypernyms: list[str]


def read_synsets(file: Path) -> dict[str, Synset]:
    """Read the synsets of data.noun by wnid."""
    synsets = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):  # the licence
            continue
        # offset, file, type, words in hexadecimal, (word, id)..., pointers, (sign, offset, type, places)..., | meaning
        fields = line.partition(" | ")[0].split()
        at = 4 + 2 * int(fields[3], 16)
        pointers = fields[at + 1 : at + 1 + 4 * int(fields[at])]
        targets = zip(pointers[::4], pointers[1::4], strict=True)
        hypernyms = ["n" + offset for sign, offset in targets if sign in POINTERS]
        synsets["n" + fields[0]] = Synset(fields[4].lower(), hypernyms)
    return synsets


def read_senses(file: Path) -> dict[tuple[str, str], int]:
    """Read the number, from 1, of each sense of a word in index.noun, by word and wnid."""
    senses = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split()
        for number, offset in enumerate(fields[-int(fields[2]) :], 1):
            senses[fields[0], "n" + offset] = number
    return senses


def with_ancestors(wnids: Iterable[str], synsets: dict[str, Synset]) -> list[str]:
    """Add the wnids of all ancestors, and sort."""
    found: set[str] = set()
    todo = list(wnids)
    while todo:
        wnid = todo.pop()
        if wnid not in found:
            found.add(wnid)
            todo += synsets[wnid].hypernyms
    return sorted(found)


def derive(folder: Path, wnids: Iterable[str]) -> str:
    """Derive the table of the given synsets and their ancestors, with NLTK's names: word, n, number of the sense.

    Args:
        folder: WordNet's folder with data.noun and index.noun.
        wnids: wnids of the synsets.

    Raises:
        KeyError: a wnid is not in data.noun.
    """
    synsets, senses = read_synsets(folder / "data.noun"), read_senses(folder / "index.noun")
    rows = []
    for wnid in with_ancestors(wnids, synsets):
        word, hypernyms = synsets[wnid]
        rows.append(" ".join([wnid, f"{word}.n.{senses[word, wnid]:02}", *hypernyms]) + "\n")
    return HEADER + "".join(rows)


def main() -> None:
    """Write hypernyms.txt."""
    parser = argparse.ArgumentParser(description="Make dataset/wordnet/hypernyms.txt from the nouns of WordNet 3.0.")
    parser.add_argument("folder", type=Path, help="folder with WordNet 3.0's data.noun and index.noun")
    folder = parser.parse_args().folder
    if not all((folder / name).is_file() for name in ("data.noun", "index.noun")):
        parser.error(f"{folder} has no data.noun and index.noun: give the dict folder of WordNet 3.0")
    try:
        table = derive(folder, ImageNetInfo().label_names())
    except KeyError as error:
        parser.error(f"{folder / 'data.noun'} has no synset {error}: it is not WordNet 3.0's")
    TABLE.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()

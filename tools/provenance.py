"""Provenance of a result: the data and the checkpoint that it is of, in its files and in its figures."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DATA = ("dataset", "folder", "split", "pictures", "classes")  # results on the same data agree in these


def file_fingerprint(path: Path) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a file, as ``sha256sum`` prints them; empty without the file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError:
        return ""


def same_data(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two results are of the same data; a result of an earlier version does not say what it is of."""
    return all(first.get(name) == second.get(name) for name in DATA)


def data_text(record: Mapping[str, Any]) -> str:
    """Data of a result in a few words; empty if it does not say them."""
    if "classes" not in record:
        return f"{record['dataset']}, version before 0.2.0" if record.get("dataset") else ""
    folder = f" in {record['folder']}/" if record.get("folder") else ""
    words = [f"{record['dataset']}{folder}"]
    if record.get("split"):
        words.append(f"{record['split']}, {record['pictures']} pictures")
    return ", ".join([*words, f"classes {record['classes']}"])


def provenance_text(record: Mapping[str, Any]) -> str:
    """Line below a figure: data, size of the pictures and checkpoint of a result; empty if it does not say them."""
    words = [data_text(record)]
    if size := record.get("img_size"):
        words.append(f"{size[0]} x {size[1]} pixels")
    if record.get("reference", "none") != "none":
        words.append(f"evidence above {record['reference']}")
    if record.get("checkpoint_id"):
        words.append(f"checkpoint {record['checkpoint_id']}")
    return ", ".join(filter(None, words))


def mixed(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Faults of a table of results, a sentence each: rows of other data, or of other states of one checkpoint."""
    faults = []
    texts = list(dict.fromkeys(data_text(row) or "unknown data" for row in rows))
    if len(texts) > 1:
        faults.append(f"the rows are of {len(texts)} different data and cannot be compared: {'; '.join(texts)}")
    states: dict[object, set[object]] = {}
    for row in rows:
        states.setdefault(row.get("checkpoint"), set()).add(row.get("checkpoint_id"))
    faults += [f"the rows of {name} are of {len(ids)} states of the file: measure the older ones again"
               for name, ids in states.items() if len(ids) > 1]  # fmt: skip
    return faults

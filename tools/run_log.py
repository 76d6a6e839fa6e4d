"""Records of a run: ``log.jsonl``, ``results.json`` and the line printed after an epoch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools import VERSION
from tools.checkpoint_content import MAX_EPOCH, whole
from tools.files import has_keys, keep_foreign, read_json, write_atomically
from tools.folder_lock import updating
from tools.provenance import same_data

MAX_LOGGED = 1e300  # matplotlib fails near the largest float; what is larger is a damaged record


class RunLog:
    """Log of a run, ``log.jsonl``: one flat record per epoch; runs in one folder share the file.

    Args:
        path: the file.
        run: the run's name, the ``run`` of its records.
        first_epoch: records of this run from here on, written by an earlier attempt, are replaced.
    """

    def __init__(self, path: Path, run: str, *, first_epoch: int) -> None:
        self.path, self.run, self.first_epoch = path, run, first_epoch
        self.own: list[dict[str, Any]] = []  # records of this attempt

    @property
    def records(self) -> list[dict[str, Any]]:
        """Records of the file, without those that this attempt replaces and with those that it adds."""
        kept = [r for r in read_records(self.path) if r["run"] != self.run or r["epoch"] < self.first_epoch]
        return kept + self.own

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record; the file is read again and rewritten, since another run may write it, too."""
        self.own.append({"run": self.run, **record})
        with updating(self.path):
            keep_foreign(self.path, lambda path: bool(read_records(path)))
            write_atomically(self.path, "".join(json.dumps(entry) + "\n" for entry in self.records).encode())

    def restore(self, record: Mapping[str, Any]) -> None:
        """Add the record of a saved epoch if the run was killed after its checkpoint and before its log."""
        if record and not any(r["run"] == self.run and r["epoch"] == record["epoch"] for r in self.records):
            self.add(record)


def epoch_line(record: Mapping[str, Any], epochs: int, *, top5: bool) -> str:
    """Line printed after an epoch; ``top5`` adds the top-5 accuracy, for more than five classes."""
    slots = "val_area" in record
    attention = f", ce {record['ce']:.4f}, attention {record['attn_mean']:.4f}" if slots else ""
    area = f", area {record['val_area']:.3f}" if slots else ""
    means = "".join(
        f", {name} {record[key]:.4f}"
        for name, key in (("balanced accuracy", "val_balanced_accuracy"), ("AUROC", "val_auroc"))
        if key in record
    )
    return (
        f"epoch {record['epoch'] + 1}/{epochs}: "
        f"train loss {record['loss']:.4f}{attention}, top-1 {record['top1']:.2%} | "
        f"val loss {record['val_loss']:.4f}, top-1 {record['val_top1']:.2%}"
        f"{', top-5 ' + format(record['val_top5'], '.2%') if top5 else ''}{means}{area} | "
        f"lr {record['lr']:.1e}, {record['images_per_s']:.0f} images/s, {record['seconds']:.1f} s"
    )


def read_records(path: Path) -> list[dict[str, Any]]:
    """Records of a ``log.jsonl``, none without a file; lines that are not records, or damaged, are skipped."""
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_record(record):
            records.append(record)
    return records


def _is_record(record: Any) -> bool:
    """Whether a line has a run, an epoch in range, perhaps its data in words, and otherwise numbers or NaN."""
    if not isinstance(record, dict) or not isinstance(record.get("run"), str):
        return False
    if not isinstance(record.get("data", ""), str):
        return False
    numbers = [value for name, value in record.items() if name not in ("run", "data")]
    return whole(0, MAX_EPOCH).holds(record.get("epoch")) and all(map(_is_loggable, numbers))


def _is_loggable(value: Any) -> bool:
    return isinstance(value, int | float) and (value != value or abs(value) < MAX_LOGGED)


def save_results(path: Path, record: Mapping[str, Any]) -> None:
    """Write ``results.json``: this record, and under ``earlier`` the last of each other checkpoint, data or size."""
    with updating(path):
        keep_foreign(path, has_keys("checkpoint"))
        _merge_results(path, record)


def _merge_results(path: Path, record: Mapping[str, Any]) -> None:
    earlier: list[dict[str, Any]] = []
    if path.is_file() and (before := read_json(path)):
        others = before.pop("earlier", [])
        earlier = [
            entry for entry in [before, *(others if isinstance(others, list) else [])] if isinstance(entry, dict)
        ]
    earlier = [entry for entry in earlier if not _replaces(record, entry)]
    record = {**record, "version": VERSION}
    content = {**record, "earlier": earlier} if earlier else dict(record)
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def _replaces(record: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    same = all(record.get(name) == earlier.get(name) for name in ("checkpoint", "img_size"))
    return same and same_data(record, earlier)

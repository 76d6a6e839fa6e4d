"""What test.py prints and writes about the predictions of a split, or of pictures without labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dataset.pictures import PictureDataset
from dataset.sources import unlabelled
from engine.classification import BINS, record_of, summary_line, table_of
from engine.predictions import Predictions, predict, save_predictions
from engine.trained_model import TrainedModel
from tools import ToolError
from tools.console import format_table, say
from tools.distributed import is_main
from tools.figures.calibration import save_reliability
from tools.figures.curves import save_confusion
from tools.files import check_outputs, writable_folder
from tools.provenance import provenance_text
from tools.run_log import save_results

MAX_CLASSES_IN_TABLE = 30


def predictions_file(given: str | bool | None, checkpoint: Path, *, needed: bool) -> Path | None:
    """The file of the table of predictions, checked before the long work; None if there is to be none.

    Args:
        given: the flag ``--predictions``.
        checkpoint: the checkpoint, next to which it is without a name.
        needed: whether it is of pictures without labels (``--predict``), which is written without the flag, too; it
            has another name then, since it must not replace the table of a split.

    Raises:
        ToolError: it cannot be written.
    """
    if not given and not needed:
        return None
    name = "predicted.csv" if needed else "predictions.csv"
    path = Path(given) if isinstance(given, str) else checkpoint.with_name(name)
    if path.resolve() == checkpoint.resolve():
        raise ToolError(f"--predictions {path} is the checkpoint: give the name of a new file")
    if is_main():
        writable_folder(path.parent)
        check_outputs(path)
    return path


def range_text(per_class: Mapping[str, float]) -> str:
    """The lowest and the highest accuracy with the names of their classes, or the one of all."""
    worst, best = min(per_class, key=per_class.__getitem__), max(per_class, key=per_class.__getitem__)
    if per_class[worst] == per_class[best]:
        return f"{per_class[best]:.2%} of each"
    return f"{per_class[worst]:.2%} ({worst}) to {per_class[best]:.2%} ({best})"


def save_split_results(
    trained: TrainedModel, data: PictureDataset, found: Predictions, *, metrics: Mapping[str, Any],
    loss: Mapping[str, float], table: Path | None,
) -> None:  # fmt: skip
    """Print the figures of each class, and write ``results.json`` and two diagrams next to the checkpoint.

    Args:
        trained: the model.
        data: the split.
        found: the predictions, of all processes.
        metrics: see :func:`engine.evaluate.evaluate`.
        loss: parameters of the loss, for ``results.json``.
        table: file of the table of predictions; None for no table.
    """
    if not is_main():
        return
    origin, path = trained.provenance(data), trained.path.with_name("results.json")
    picture, diagram = (trained.path.with_name(f"{trained.run}_{kind}.png") for kind in ("confusion", "calibration"))
    note = provenance_text(origin)
    record = {"checkpoint": trained.path.name, **origin, "epoch": trained.state["epoch"], **metrics, **loss}
    record |= class_results(found, data, top1=metrics["top1"], picture=diagram, table=table, note=note)
    save_results(path, record)
    predicted = found.logits.argmax(1)
    save_confusion(picture, found.labels.numpy(), predicted.numpy(), data.class_names, note=note)
    say(f"saved: {path}, {picture}, {diagram}" + (f", {table}" if table else ""))


def class_results(
    found: Predictions, data: PictureDataset, *, top1: float, picture: Path, table: Path | None, note: str
) -> dict[str, Any]:
    """Print and draw the figures of a split, write its table, and return the entries of ``results.json``.

    Args:
        found: the predictions, of all processes.
        data: the split.
        top1: its accuracy, for the printed line.
        picture: file of the reliability diagram.
        table: file of the table of predictions; None for no table.
        note: what the results are of.
    """
    record = record_of(found.logits, found.labels, data.class_names)
    per_class = {name: row["recall"] for name, row in record["by_class"].items() if row["pictures"]}
    say(f"by class: {range_text(per_class)}")
    if len(data.class_names) <= MAX_CLASSES_IN_TABLE:
        say(format_table(table_of(record)), several=True)
    say(summary_line(record, top1))
    save_reliability(picture, record["calibration"], error=record["ece"], count=BINS, note=note)
    if table:
        files = [data.path(index) for index in range(len(data))]
        save_predictions(table, found, files, data.class_names)
    return {"per_class": per_class, **record}


def predict_files(
    trained: TrainedModel, files: Sequence[str], table: Path, *, batch_size: int, num_workers: int, bad_images: str,
    amp: torch.dtype | None,
) -> None:  # fmt: skip
    """Predict pictures without labels, and write the table of the predictions.

    Args:
        trained: the model.
        files: files, or folders of pictures.
        table: the file to write.
        batch_size, num_workers: of the loader.
        bad_images: see :func:`dataset.sources.unlabelled`.
        amp: precision of the forward pass, None for single precision.
    """
    data = unlabelled(files, trained.class_names, img_size=trained.img_size, in_chans=trained.in_chans,
                      bad_images=bad_images)  # fmt: skip
    loader = trained.loader(data, batch_size=batch_size, num_workers=num_workers)
    found = predict(trained.model, loader, device=trained.device, amp=amp)
    if is_main():
        paths = [data.path(index) for index in range(len(data))]
        save_predictions(table, found, paths, trained.class_names, labelled=False)
        say(f"predictions of {len(found.numbers)} pictures: {table}")

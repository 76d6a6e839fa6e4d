"""HTML report of a run, made from its files and from the maps of its models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dataset.sources import Source, Sources
from engine.explain.result import LIKELY_CLASSES
from engine.explain.slots import Explanation, interesting_classes
from engine.explain.table import metric_tables, read_metrics
from engine.trained_model import TrainedModel
from tools import ToolError
from tools.console import progress, say
from tools.figures.report.gallery import ReportCard, ReportMap
from tools.figures.report.page import Report, save_report
from tools.figures.report.pictures import picture_uri
from tools.files import check_report_file, writable_folder
from tools.provenance import mixed, provenance_text, same_data
from tools.run_log import read_records

MARK = b"Content-Security-Policy"  # at the beginning of every report


def check_report(file: Path, *, inputs: Sequence[str | Path | None]) -> None:
    """Raise before the evaluation where the page could not be written; see :func:`check_report_file`.

    Raises:
        ToolError: the path names a folder, a device, one of the inputs or a file that is no report.
    """
    check_report_file(file, MARK, inputs=inputs)


def write_report(
    file: Path, models: Sequence[TrainedModel], sources: Sources, *, dataset: str, accuracy: dict[str, float],
    origin: dict[str, Any],
) -> None:  # fmt: skip
    """Write one HTML file with the settings, metrics and curves of a run and a gallery of its models' maps.

    Args:
        file: the page to write.
        models: the slot model of the run, and optionally that of the other sign.
        sources: the pictures of the gallery.
        dataset: name of the dataset.
        accuracy: by name, from 0 to 1; empty if nothing was evaluated.
        origin: of data and checkpoint, from :meth:`TrainedModel.provenance`.

    Raises:
        ToolError: the folder of the page cannot be written.
    """
    first = models[0]
    cards = [report_card(models, source) for source in progress(sources, "report")]
    try:
        measured = read_metrics(first.path.parent)
        tables, faults = metric_tables(measured), mixed(measured)
        if measured and not all(same_data(row, origin) for row in measured):
            faults.append("scores of other data than those of this page are among them")
    except ToolError:
        tables, faults = {}, []  # no metrics yet
    title = f"{first.run}: {first.config['backbone']} on {dataset}"
    records = read_records(first.path.parent / "log.jsonl")
    data = provenance_text(origin) + "".join(f", {m.run} {m.checkpoint_id}" for m in models[1:])
    writable_folder(file.parent)
    save_report(file, Report(
        title, first.state["train_config"], accuracy, tables.pop("", []), records, cards, data, faults, tables
    ))  # fmt: skip
    say(f"report of {len(cards)} picture(s): {file}")


def report_card(models: Sequence[TrainedModel], source: Source) -> ReportCard:
    """Card of the gallery: a picture with every model's evidence for the classes that the first model finds likely."""
    names = models[0].class_names
    explanations = [model.explain(source.picture) for model in models]
    first, negative = explanations[0], models[0].is_negative
    shown = interesting_classes(first, count=LIKELY_CLASSES, negative=negative, label=source.label)
    maps = [
        ReportMap(
            name=names[label], probability=float(explanation.probabilities[label]),
            logit=float(explanation.logits[label]), values=values[label].numpy().copy(), kind=kind,
            is_part=explanation.two_sided, prediction=names[int(explanation.probabilities.argmax())],
            model=("negative model" if model.is_negative else "positive model") if len(models) > 1 else "",
        )
        for model, explanation in zip(models, explanations, strict=True)
        for label in shown
        for kind, values in _sides(explanation, negative=model.is_negative).items()
    ]  # fmt: skip
    best = int(first.probabilities.argmax())
    if source.label is not None and source.label != best:
        contrast = first.contrast(best, source.label)  # (h, w)
        maps.append(ReportMap(
            name=f"{names[best]} rather than {names[source.label]}", probability=float(first.probabilities[best]),
            logit=float(contrast.sum()), values=contrast.numpy(), kind="contrast",
        ))  # fmt: skip
    known = names[source.label] if source.label is not None else None
    picture = picture_uri(source.picture)
    return ReportCard(source.title, picture, known, names[best], float(first.probabilities[best]), maps)


def _sides(explanation: Explanation, *, negative: bool) -> dict[str, Tensor]:
    """The maps (c, h, w) to show, by the kind of :class:`ReportMap`."""
    if explanation.two_sided:
        return {"positive": explanation.why, "negative": explanation.why_not}
    return {"negative" if negative else "positive": explanation.evidence}

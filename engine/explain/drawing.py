"""Drawing of explanations: the published map files, a figure of each picture, and the rows of an overview."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2.functional import to_pil_image

from dataset import DataError
from dataset.loaders import normalised_picture
from dataset.pictures import PictureDataset
from dataset.sources import Source, Sources
from engine.explain.result import LIKELY_CLASSES, caption
from engine.explain.slots import Explanation, explain_picture, interesting_classes
from engine.trained_model import TrainedModel
from tools.console import progress, say
from tools.figures.contrast import contrast_text, save_contrast_figure
from tools.figures.explanations import OverviewRow, class_maps, draw_overview, save_explanation_figure, save_map_files
from tools.figures.saving import save_figure
from tools.files import writable_folder

MAX_OVERVIEW_ROWS = 20
MAX_CLASSES_IN_OVERVIEW = 10  # with more classes, only the most likely ones have a column
FOLLOWED_PICTURES = 6  # number of pictures in TensorBoard, the same in every epoch


def output_folder(trained: TrainedModel, vis_dir: str | None, *, files: bool) -> Path:
    """Folder of the drawn explanations: ``vis_dir`` or, by default, one for picture files and another for a split."""
    default = trained.path.parent / "vis" / trained.run
    return writable_folder(vis_dir or (default / "images" if files else default))


def draw_slot_maps(
    trained: TrainedModel,
    sources: Sources,
    root: Path,
    *,
    classes: list[int] | None,
    versus: Sequence[int] = (),
    note: str = "",
    vis_format: str = "png",
) -> None:
    """Draw the explanations of pictures, each in a folder of its own, and an overview of the first ones.

    Args:
        trained: a slot model.
        sources: the pictures.
        root: folder of all of them.
        classes: to show; None for the likely ones.
        versus: classes that the predicted one is contrasted with; see :func:`draw_contrasts`.
        note: data and checkpoint, for a line below each figure.
        vis_format: ending of the figures and the other pictures in colour, ``png`` or ``jpg``.
    """
    rows: list[OverviewRow] = []
    overview = root / f"overview.{vis_format}"
    for source in progress(sources, "explain"):
        folder = writable_folder(root / source.title)
        row = _draw_picture(trained, source, folder, classes, versus, note, vis_format)
        if len(rows) < MAX_OVERVIEW_ROWS:
            rows.append(row)
    line = f"explanations of {len(sources)} picture(s): {root / sources.titles[0] / f'explanation.{vis_format}'}"
    if len(rows) > 1:
        save_figure(overview, draw_overview(rows, negative=trained.is_negative), note=note)
        line += f" and so on, {len(rows)} in {overview}"
    say(line)


def _draw_picture(
    trained: TrainedModel, source: Source, folder: Path, classes: list[int] | None, versus: Sequence[int], note: str,
    vis_format: str,
) -> OverviewRow:  # fmt: skip
    names, negative, pixels = trained.class_names, trained.is_negative, trained.pixels(source.picture)
    explanation = explain_picture(trained.model, trained.normalised(pixels))
    picture = to_pil_image(pixels)
    attention = explanation.attention.clamp_min(0).numpy()
    columns = partial(class_maps, explanation, names, label=source.label)
    shown = classes or interesting_classes(explanation, count=LIKELY_CLASSES, negative=negative, label=source.label)
    title = caption(source.title, names, explanation.probabilities, source.label)
    # Pillow lets another thread run while it encodes, so that map files take no time beside a figure on a free core.
    with ThreadPoolExecutor(1) as thread:
        saved = thread.submit(
            save_map_files, folder, picture, attention, classes or range(len(names)), vis_format=vis_format
        )
        save_explanation_figure(
            folder / f"explanation.{vis_format}", picture, columns(shown), title=title, negative=negative, note=note
        )
        say(title)
        draw_contrasts(trained, explanation, source, folder, picture, versus=versus, note=note, vis_format=vis_format)
    saved.result()  # which raises what writing them raised
    predicted = names[int(explanation.probabilities.argmax())]
    every = list(range(len(names))) if len(names) <= MAX_CLASSES_IN_OVERVIEW else shown
    return OverviewRow(picture, (source.title, f"predicted {predicted}"), columns(classes or every))


def draw_contrasts(
    trained: TrainedModel, explanation: Explanation, source: Source, folder: Path, picture: Image.Image, *,
    versus: Sequence[int], note: str, vis_format: str, prefix: str = "",
) -> None:  # fmt: skip
    """Draw the evidence for the predicted class rather than another, ``versus_<other>``, and print their ratio.

    Args:
        trained: a slot model.
        explanation: of the picture.
        source: the picture.
        folder: an existing folder.
        picture: the model's input before normalisation.
        versus: the other classes; none for the true class, if the prediction is wrong.
        note, vis_format: see :func:`draw_slot_maps`.
        prefix: of the names of the files, to tell two models apart.
    """
    names, predicted = trained.class_names, int(explanation.probabilities.argmax())
    true = [] if source.label is None else [source.label]
    for other in versus or true:
        if other == predicted:
            continue
        contrast = explanation.contrast(predicted, other).numpy()
        text = contrast_text(names[predicted], names[other], float(contrast.sum()))
        save_contrast_figure(
            folder / f"{prefix}versus_{other}.{vis_format}", picture, contrast, name=names[predicted],
            other=names[other], title=caption(source.title, names, explanation.probabilities, source.label), note=note,
        )  # fmt: skip
        say(f"picture {source.title}: {text}")


def followed_rows(
    model: nn.Module, data: PictureDataset, statistics: Mapping[str, Sequence[float]], *, negative: bool,
    device: torch.device,
) -> list[OverviewRow]:  # fmt: skip
    """Overview rows of a few fixed pictures of a split, explained by a slot model in training.

    Args:
        model: a slot model; it is put into evaluation mode.
        data: the validation split.
        statistics: ``mean`` and ``std`` of its pictures.
        negative: whether the model is a negative one.
        device: device of the model.
    """
    rows, names = [], data.class_names
    for number in range(0, len(data), max(len(data) // FOLLOWED_PICTURES, 1))[:FOLLOWED_PICTURES]:
        try:
            pixels, label = data.pixels(number), data.listing.labels[number]
        except DataError:
            if data.bad_images == "error":
                raise
            continue
        explanation = explain_picture(model, normalised_picture(pixels.to(device), **statistics))
        likely = interesting_classes(explanation, count=LIKELY_CLASSES, negative=negative, label=label)
        # A class keeps its column from epoch to epoch if all classes are shown; the true class always does.
        every = len(names) <= MAX_CLASSES_IN_OVERVIEW
        classes = list(range(len(names))) if every else [label, *(c for c in likely if c != label)]
        columns = class_maps(explanation, names, classes, label=label)
        rows.append(OverviewRow(to_pil_image(pixels), (str(number), names[label]), columns))
    return rows

"""What the controls of the page do: explain a picture, show a class or a contrast, draw a figure."""

import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from matplotlib.figure import Figure

from dataset import DataError
from engine.demo import view
from engine.demo.examples import Example
from engine.explain.result import LIKELY_CLASSES, PictureExplanation
from engine.trained_model import TrainedModel
from tools.figures.saving import save_figure
from tools.provenance import provenance_text
from tools.text import visible

SECONDS = 3600  # after which files of visitors are deleted; all of them are when the program ends
HINT = "Drop a picture, or choose an example, to see what the model sees in it."


class Update(NamedTuple):
    """New values of the components that a picture changes."""

    result: PictureExplanation | None
    answer: str
    details: Any
    chosen: Any = gr.skip()
    view: Any = gr.skip()
    classes: Any = gr.skip()
    first: Any = gr.skip()
    other: Any = gr.skip()
    contrast: Any = gr.skip()


class Actions:
    """Functions that the controls call; each explanation belongs to the page of one visitor.

    Args:
        trained: a slot model.
        examples: pictures to choose from.

    Attributes:
        greeting: HTML in place of an answer, before the first picture.
    """

    def __init__(self, trained: TrainedModel, examples: Sequence[Example]) -> None:
        self.trained, self.examples = trained, examples
        self._drawn: deque[tuple[float, Path]] = deque()  # when, and the folder of the file
        self.greeting = f'<p class="answer hint">{HINT}</p>'

    def example_buttons(self) -> str:
        """HTML of the examples."""
        return view.example_buttons(self.examples, self.trained.class_names) if self.examples else ""

    def file(self, path: str | None) -> Update:
        """Explain a file; one that is no picture gives a message."""
        if path is None:
            return Update(None, self.greeting, gr.update(visible=False))
        try:
            return self._update(self.trained.explain(path), None)
        except DataError as error:
            text = str(error).replace(path, visible(Path(path).name))
            return Update(None, view.message(f"{text}: give a picture, such as a PNG or a JPEG"),
                          gr.update(visible=False))  # fmt: skip

    def example(self, number: int) -> Update:
        """Explain an example."""
        chosen = self.examples[number]
        return self._update(self.trained.explain(chosen.picture), chosen.label)

    def opening(self) -> Update:
        """Explain the example that the model is least sure about."""
        return self.example(self._least_sure)

    @cached_property
    def _least_sure(self) -> int:
        """Number of the example with the lowest probability of its label."""
        results = self.trained.explain([example.picture for example in self.examples])
        sure = [float(r.probabilities[e.label]) for r, e in zip(results, self.examples, strict=True)]
        return sure.index(min(sure))

    @cached_property
    def _note(self) -> str:
        """Line below a figure: size of the pictures, reference of the evidence, and checkpoint."""
        record = self.trained.provenance(None)
        return provenance_text({key: record.get(key) for key in ("img_size", "reference", "checkpoint_id")})

    def pressed_example(self, event: gr.EventData) -> tuple[Any, ...]:
        """Explain the example whose button was pressed; the file before it is forgotten."""
        return *self.example(int(event.number)), None

    def _update(self, result: PictureExplanation, label: int | None) -> Update:
        order = view.ranked(result)
        best, second = order[0], order[min(1, len(order) - 1)]
        choices = [(view.choice(result, c), c) for c in order]
        return Update(
            result, view.answer(result, label=label), gr.update(visible=True),
            gr.update(choices=choices, value=best), *self.choose(result, best),
            gr.update(choices=choices, value=best), gr.update(choices=choices, value=second),
            self.contrast(result, best, second),
        )  # fmt: skip

    def choose(self, result: PictureExplanation | None, c: int) -> tuple[str, str]:
        """Show the evidence of a class."""
        known = _known(result)
        return view.class_view(known, c), view.class_buttons(known, c)

    def pressed_class(self, result: PictureExplanation | None, event: gr.EventData) -> tuple[str, str, int]:
        """Show the evidence of the class whose button was pressed."""
        c = int(event.number)
        return *self.choose(result, c), c

    def contrast(self, result: PictureExplanation | None, first: int, other: int) -> str:
        """Show the evidence for one class rather than another."""
        return view.contrast_view(_known(result), first, other)

    def draw(self, result: PictureExplanation | None, c: int) -> str:
        """Draw the figure of the likely classes and of the chosen one; returns its file."""
        known = _known(result)
        likely = view.ranked(known)[:LIKELY_CLASSES]
        return self._saved(known.figure(*(likely if c in likely else [*likely, c])), "explanation.png")

    def draw_contrast(self, result: PictureExplanation | None, first: int, other: int) -> str:
        """Draw the figure of one class rather than another; returns its file."""
        if first == other:
            raise gr.Error("Choose two different classes.", print_exception=False)
        return self._saved(_known(result).figure(first, versus=other), f"versus_{other}.png")

    def _saved(self, figure: Figure, name: str) -> str:
        """File of a figure, in a folder of its own among the temporary files of the page."""
        while self._drawn and time.monotonic() - self._drawn[0][0] > SECONDS:
            shutil.rmtree(self._drawn.popleft()[1], ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=os.environ.get("GRADIO_TEMP_DIR")))
        self._drawn.append((time.monotonic(), folder))
        save_figure(folder / name, figure, note=self._note)
        return str(folder / name)


def _known(result: PictureExplanation | None) -> PictureExplanation:
    """The explanation of this page, which the program has forgotten if it was started again."""
    if result is None:
        raise gr.Error("The program was started again: drop the picture once more.", print_exception=False)
    return result

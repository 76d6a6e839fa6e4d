"""What the controls of the page do: explain a picture, show a class or a contrast, draw a figure."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from matplotlib.figure import Figure

from dataset import DataError
from engine.demo import view
from engine.demo.examples import Example
from engine.explain.result import LIKELY_CLASSES, PictureExplanation
from engine.trained_model import TrainedModel
from tools.files import save_figure
from tools.text import visible

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
        """Explain the example that the model is least sure about: that with the lowest probability of its label."""
        results = self.trained.explain([example.picture for example in self.examples])
        sure = [float(r.probabilities[e.label]) for r, e in zip(results, self.examples, strict=True)]
        return self.example(sure.index(min(sure)))

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

    def choose(self, result: PictureExplanation, c: int) -> tuple[str, str]:
        """Show the evidence of a class."""
        return view.class_view(result, c), view.class_buttons(result, c)

    def pressed_class(self, result: PictureExplanation, event: gr.EventData) -> tuple[str, str, int]:
        """Show the evidence of the class whose button was pressed."""
        c = int(event.number)
        return *self.choose(result, c), c

    def contrast(self, result: PictureExplanation, first: int, other: int) -> str:
        """Show the evidence for one class rather than another."""
        return view.contrast_view(result, first, other)

    def draw(self, result: PictureExplanation, c: int) -> str:
        """Draw the figure of the likely classes and of the chosen one; returns its file."""
        likely = view.ranked(result)[:LIKELY_CLASSES]
        return _saved(result.figure(*(likely if c in likely else [*likely, c])), "explanation.png")

    def draw_contrast(self, result: PictureExplanation, first: int, other: int) -> str:
        """Draw the figure of one class rather than another; returns its file."""
        if first == other:
            raise gr.Error("Choose two different classes.", print_exception=False)
        return _saved(result.figure(first, versus=other), f"versus_{other}.png")


def _saved(figure: Figure, name: str) -> str:
    """File of a figure, in a folder of its own among the temporary files of the page."""
    path = Path(tempfile.mkdtemp(dir=os.environ.get("GRADIO_TEMP_DIR")), name)
    save_figure(path, figure)
    return str(path)

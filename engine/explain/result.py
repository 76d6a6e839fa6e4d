"""Explanation of a picture with the names of its classes, for the Python interface."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from dataset import DataError
from dataset.registry import class_number
from engine.explain.slots import Explanation, interesting_classes
from tools.figures.contrast import draw_contrast
from tools.figures.explanations import class_maps, draw_explanation
from tools.figures.texts import prepare_texts

LIKELY_CLASSES = 4  # shown unless others are chosen


def caption(title: str, names: Sequence[str], probabilities: Tensor, label: int | None) -> str:
    """Line about a picture: its label, if known, and the predicted class; ``probabilities`` (c) are of all classes."""
    best = int(probabilities.argmax())
    known = f"label {names[label]}, " if label is not None else ""
    return f"picture {title}: {known}predicted {names[best]} (p = {probabilities[best]:.3f})"


class ClassExplanation(NamedTuple):
    """Explanation of a picture for one class; the maps are (h, w), in nats but for the attention, on the CPU."""

    name: str
    number: int  # index of the class
    logit: float  # nats
    probability: float
    attention: Tensor
    evidence: Tensor  # its sum is the logit, for a negative model minus the logit
    why: Tensor  # evidence for the class, not negative
    why_not: Tensor  # evidence against the class, not negative
    common: Tensor  # the rest: logit == (why - why_not + common).sum()


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class PictureExplanation(Explanation):
    """Explanation of a picture for every class: the tensors of :class:`Explanation`, with names and a figure.

    Maps have the resolution of the model's grid (h, w); row 0 is the top of the picture. A class is given by its name
    or by its index (an int).
    """

    class_names: list[str]  # c names
    picture: Image.Image  # the model's input before normalisation, grey or RGB
    negative: bool  # whether the model is a negative one: attention and evidence then speak against their class

    @property
    def predicted(self) -> str:
        """Name of the most likely class."""
        return self.class_names[int(self.probabilities.argmax())]

    def for_class(self, name: str | int) -> ClassExplanation:
        """Explanation for one class.

        Raises:
            DataError: the model has no such class.
        """
        c = self.number(name)
        return ClassExplanation(
            self.class_names[c], c, float(self.logits[c]), float(self.probabilities[c]), self.attention[c],
            self.evidence[c], self.why[c], self.why_not[c], self.common[c],
        )  # fmt: skip

    def contrast(self, label: str | int, other: str | int) -> Tensor:
        """Evidence (h, w) in nats for one class rather than another, signed; see :meth:`Explanation.contrast`.

        Raises:
            DataError: the model has no such class.
        """
        return super().contrast(self.number(label), self.number(other))

    def number(self, name: str | int) -> int:
        """Index of a class.

        Raises:
            DataError: the model has no such class.
        """
        return class_number(str(name), self.class_names if isinstance(name, str) else self._numbers, flag="class")

    @property
    def _numbers(self) -> list[str]:
        return [str(c) for c in range(len(self.class_names))]

    def figure(self, *classes: str | int, versus: str | int | None = None) -> Figure:
        """Draw the picture and the maps of some classes; without ``classes`` of the most likely ones.

        The figure belongs to no window and to no backend of matplotlib; ``savefig`` writes it.

        Args:
            classes: the classes to show.
            versus: draw :meth:`contrast` instead, the evidence for the predicted class, or for the one in
                ``classes``, rather than this one: red for the first, blue for the second. The title has their
                difference in nats and the ratio of their probabilities.

        Raises:
            DataError: the model has no such class; with ``versus``, several classes or the same one twice.
        """
        if versus is None:
            chosen = [self.number(name) for name in classes] or interesting_classes(
                self, count=LIKELY_CLASSES, negative=self.negative, label=None
            )
            columns = class_maps(self, self.class_names, chosen, label=None)
            figure = draw_explanation(self.picture, columns, title=repr(self), negative=self.negative)
        else:
            figure = self._figure_of_contrast(classes, versus)
        prepare_texts(figure)
        return figure

    def _figure_of_contrast(self, classes: tuple[str | int, ...], versus: str | int) -> Figure:
        if len(classes) > 1:
            raise DataError(f"versus {versus}: it is drawn for one class, not for {len(classes)}")
        first = self.number(classes[0]) if classes else int(self.probabilities.argmax())
        second = self.number(versus)
        if first == second:
            raise DataError(f"versus {versus}: that is the {'same' if classes else 'predicted'} class: give another")
        return draw_contrast(
            self.picture, self.contrast(first, second).numpy(), name=self.class_names[first],
            other=self.class_names[second], title=repr(self),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"predicted {self.predicted} (p = {float(self.probabilities.max()):.3f})"

    def _repr_html_(self) -> str:
        """The figure as HTML, which notebooks show."""
        file = io.BytesIO()
        self.figure().savefig(file, format="png", dpi=100)
        data = base64.b64encode(file.getvalue()).decode("ascii")
        return f'<img alt="{html.escape(repr(self))}" src="data:image/png;base64,{data}">'

"""Input of the metrics that need passes of their own over the pictures: model, explainer and pictures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dataset.loaders import Batch
from engine.explain.interface import Explainer, Logits, PictureBatch
from engine.explain.settings import MetricSettings


@dataclass(frozen=True)
class Subject:
    """Explainer that is measured, its model, and the pictures that it is measured on.

    Attributes:
        explainer: source of the maps.
        rebuild: builds the explainer for the model's weights of the moment, with features of the given pictures, or of
            those that it was built with if there are none given.
        logits: the model, (b, ch, H, W) to (b, c).
        module: the model whose weights :mod:`engine.explain.metrics.mprt` randomises.
        class_weights: its weights that belong to single classes: slots, or rows of the classifier.
        loader: batches on the device, their pictures normalised; this process's share of the pictures.
        pictures: pictures (b, ch, H, W) of any process by their numbers, like those of the loader.
        explained: (c), the class to be explained for each true class; None explains the true class.
        settings: parameters of all metrics.
        batch_size: pictures in one forward pass.
        title: title of the progress bars.
    """

    explainer: Explainer
    rebuild: Callable[[Iterable[PictureBatch] | None], Explainer]
    logits: Logits
    module: nn.Module
    class_weights: list[nn.Parameter]
    loader: Iterable[Batch]
    pictures: Callable[[Sequence[int]], Tensor]
    explained: Tensor | None
    settings: MetricSettings
    batch_size: int
    title: str

    def classes(self, labels: Tensor) -> Tensor:
        """Explained classes (b) of pictures of these true classes (b)."""
        return labels if self.explained is None else self.explained.to(labels.device)[labels]

    def raw_maps(self, batch: Batch, explainer: Explainer | None = None) -> Tensor:
        """Maps (b, h, w) of the explained classes as an explainer gives them, by default this one."""
        return (explainer or self.explainer)(batch.images, self.classes(batch.labels)[:, None])[:, 0]

    def maps(self, batch: Batch) -> Tensor:
        """Maps (b, h, w) of the explained classes, cut at zero."""
        return self.raw_maps(batch).clamp_min(0)

    @staticmethod
    def records(batch: Batch, columns: dict[str, Tensor]) -> list[dict[str, float]]:
        """A record for each picture of a batch: its number, and its value (b) of each column."""
        values = [column.cpu().double().tolist() for column in columns.values()]
        return [
            {"number": number, **dict(zip(columns, row, strict=True))}
            for number, row in zip(batch.numbers.tolist(), zip(*values, strict=True), strict=True)
        ]

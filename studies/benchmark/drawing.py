"""Seconds for what ``--vis true`` writes of one picture: its figures and the map files of the published code."""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from studies.benchmark.timing import seconds_each
from tools.figures.contrast import save_contrast_figure
from tools.figures.explanations import ClassMap, save_explanation_figure, save_map_files

CLASSES, SHOWN, GRID = 10, 5, 9  # of a model, in a figure; places along each side
ROUNDS = {True: 5, False: 25}


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Draw random maps over random smooth pictures of ``--img_size``, other ones each time; returns table rows."""
    with tempfile.TemporaryDirectory() as folder:
        drawing = Drawing(Path(folder), run.img_size, seed=run.seed)
        files: dict[str, Callable[[], None]] = {
            f"explanation.png, {SHOWN} classes": drawing.explanation,
            "versus_<class>.png": drawing.contrast,
            f"image.png and {2 * CLASSES} map files": drawing.map_files,
        }
        actions = {name: partial(drawing.next_of, action) for name, action in files.items()}
        seconds = seconds_each(actions, rounds=ROUNDS[run.quick], title="draw", clock=time.process_time)
        rows = {**seconds, "all of them": sum(seconds.values())}
        return [{"draw": name, "CPU s": taken} for name, taken in rows.items()]


class Drawing:
    """Files of a picture, with other numbers in every call.

    Args:
        folder: an existing folder.
        size: (H, W) of the picture.
        seed: of the random numbers.
    """

    def __init__(self, folder: Path, size: tuple[int, int], *, seed: int) -> None:
        self.folder, self.size, self.random = folder, size, np.random.default_rng(seed)
        self.picture = Image.new("RGB", (1, 1))

    def next_of(self, action: Callable[[], None]) -> None:
        """Draw another picture."""
        coarse = self.random.integers(0, 256, (self.size[0] // 8 + 1, self.size[1] // 8 + 1, 3), np.uint8)
        self.picture = Image.fromarray(coarse).resize(self.size[::-1], Image.Resampling.BICUBIC)
        action()

    def maps(self, count: int) -> np.ndarray:
        """Maps (count, GRID, GRID) with few high places."""
        return (self.random.random((count, GRID, GRID)) ** 4).astype(np.float32)

    def explanation(self) -> None:
        """Write a figure of evidence for and against some classes."""
        logits, maps = self.random.normal(0, 3, SHOWN), self.maps(3 * SHOWN)
        columns = [
            ClassMap(
                f"class {i}", float(logit), 1 / (2 + i), maps[3 * i], maps[3 * i + 1], i == 0, maps[3 * i + 2], 1.5
            )
            for i, logit in enumerate(logits)
        ]
        title = f"picture {self.random.integers(1000)}: label class 0, predicted class 0"
        save_explanation_figure(
            self.folder / "explanation.png", self.picture, columns, title=title, negative=False, note="random pictures"
        )

    def contrast(self) -> None:
        """Write a figure of one class rather than another."""
        contrast = self.maps(1)[0] - self.maps(1)[0]
        title = f"picture {self.random.integers(1000)}: label class 1, predicted class 0"
        save_contrast_figure(
            self.folder / "versus_1.png", self.picture, contrast, name="class 0", other="class 1", title=title,
            note="random pictures",
        )  # fmt: skip

    def map_files(self) -> None:
        """Write the published files of all classes."""
        save_map_files(self.folder, self.picture, self.maps(CLASSES), range(CLASSES))

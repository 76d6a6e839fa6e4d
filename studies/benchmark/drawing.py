"""Seconds for what ``--vis true`` writes of one picture: its figures and the map files of the published code.

The map files are written in a second thread while the figure is drawn; ``both`` is the wall time of that.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.explain.flags import VIS_FORMATS
from studies.benchmark.timing import seconds_each
from tools.figures.contrast import save_contrast_figure
from tools.figures.explanations import ClassMap, save_explanation_figure, save_map_files

CLASSES, SHOWN, GRID = 10, 5, 9  # of a model, in a figure; places along each side
ROUNDS = {True: 5, False: 25}


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Draw random maps over random smooth pictures of ``--img_size``, other ones each time; returns table rows."""
    rows: list[dict[str, Any]] = []
    for vis_format in VIS_FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            drawing = Drawing(Path(folder), run.img_size, vis_format, seed=run.seed)
            files: dict[str, Callable[[], None]] = {
                f"explanation, {SHOWN} classes": drawing.explanation,
                "versus_<class>": drawing.contrast,
                f"image and {2 * CLASSES} map files": drawing.map_files,
            }
            actions = {name: partial(drawing.next_of, action) for name, action in files.items()}
            both = {"both": partial(drawing.next_of, drawing.both)}
            rounds = ROUNDS[run.quick]
            seconds = seconds_each(actions, rounds=rounds, title=f"draw {vis_format}", clock=time.process_time)
            wall = seconds_each(both, rounds=rounds, title=f"draw {vis_format} in two threads")["both"]
        rows += [{"draw": name, "format": vis_format, "CPU s": taken} for name, taken in seconds.items()]
        rows.append({"draw": "all of them", "format": vis_format, "CPU s": sum(seconds.values())})
        rows.append({"draw": "explanation and map files", "format": vis_format, "wall s": wall})
    return rows


class Drawing:
    """Files of a picture, with other numbers in every call.

    Args:
        folder: an existing folder.
        size: (H, W) of the picture.
        vis_format: ending of the files in colour.
        seed: of the random numbers.
    """

    def __init__(self, folder: Path, size: tuple[int, int], vis_format: str, *, seed: int) -> None:
        self.folder, self.size, self.vis_format = folder, size, vis_format
        self.random = np.random.default_rng(seed)
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
            ClassMap(f"class {i}", float(logit), 1 / (2 + i), maps[3 * i], maps[3 * i + 1], i == 0, maps[3 * i + 2])
            for i, logit in enumerate(logits)
        ]
        title = f"picture {self.random.integers(1000)}: label class 0, predicted class 0"
        save_explanation_figure(
            self.folder / f"explanation.{self.vis_format}", self.picture, columns, title=title, negative=False,
            note="random pictures",
        )  # fmt: skip

    def contrast(self) -> None:
        """Write a figure of one class rather than another."""
        contrast = self.maps(1)[0] - self.maps(1)[0]
        title = f"picture {self.random.integers(1000)}: label class 1, predicted class 0"
        save_contrast_figure(
            self.folder / f"versus_1.{self.vis_format}", self.picture, contrast, name="class 0", other="class 1",
            title=title, note="random pictures",
        )  # fmt: skip

    def map_files(self) -> None:
        """Write the published files of all classes."""
        save_map_files(self.folder, self.picture, self.maps(CLASSES), range(CLASSES), vis_format=self.vis_format)

    def both(self) -> None:
        """Draw the figure while another thread writes the map files."""
        with ThreadPoolExecutor(1) as thread:
            maps = thread.submit(self.map_files)
            self.explanation()
            maps.result()

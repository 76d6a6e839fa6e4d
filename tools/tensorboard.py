"""TensorBoard logging (``--tensorboard true``): figures of each epoch, and how the maps of fixed pictures grow."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tools import ToolError


def check_tensorboard() -> None:
    """Raise unless TensorBoard is installed.

    Raises:
        ToolError: it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ToolError("--tensorboard true needs a package that is not installed: pip install tensorboard")


class EventFiles:
    """Event files of one run, below ``tensorboard/`` in its folder, for ``tensorboard --logdir``.

    Args:
        folder: of the run.
        run: its name.
        first_epoch: what an earlier try wrote from there on is not shown any more.
    """

    def __init__(self, folder: str | Path, run: str, *, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # only who asks for it waits for it

        self.writer = SummaryWriter(str(Path(folder, "tensorboard", run)), purge_step=first_epoch)

    def add(self, record: Mapping[str, Any], figure: Figure | None) -> None:
        """An epoch: its numbers, training and validation in one chart each, and a figure with maps."""
        epoch = int(record["epoch"])
        for name, value in record.items():
            if isinstance(value, int | float) and name != "epoch":
                split = "validation" if name.startswith("val_") else "training"
                self.writer.add_scalar(f"{name.removeprefix('val_')}/{split}", value, epoch)
        if figure is not None:
            self.writer.add_figure("evidence", figure, epoch)
        self.writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()

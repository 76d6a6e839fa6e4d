"""TensorBoard logging (``--tensorboard true``): metrics of each epoch, and evidence maps of a few fixed pictures."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tools import ToolError
from tools.figures.texts import prepare_texts


def check_tensorboard() -> None:
    """Raise unless TensorBoard is installed.

    Raises:
        ToolError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ToolError("--tensorboard true needs a package that is not installed: pip install tensorboard")


class EventFiles:
    """Event files of a run, in ``tensorboard/`` in its folder, for ``tensorboard --logdir``.

    Args:
        folder: the run's folder.
        run: its name.
        first_epoch: events of an earlier attempt from this epoch on are hidden.
    """

    def __init__(self, folder: str | Path, run: str, *, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow, and needed for this flag only

        self.writer = SummaryWriter(str(Path(folder, "tensorboard", run)), purge_step=first_epoch)

    def add(self, record: Mapping[str, Any], figure: Figure | None) -> None:
        """Write an epoch: its metrics, training and validation in one chart, and the figure with maps."""
        epoch = int(record["epoch"])
        for name, value in record.items():
            if isinstance(value, int | float) and name != "epoch":
                split = "validation" if name.startswith("val_") else "training"
                self.writer.add_scalar(f"{name.removeprefix('val_')}/{split}", value, epoch)
        if figure is not None:
            prepare_texts(figure)
            self.writer.add_figure("evidence", figure, epoch)
        self.writer.flush()

    def close(self) -> None:
        """Write everything and close the files."""
        self.writer.close()

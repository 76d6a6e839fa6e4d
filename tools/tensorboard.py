"""TensorBoard logging (``--tensorboard true``): metrics of each epoch, and evidence maps of a few fixed pictures."""

import importlib.util
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

        self.folder, self.failed = Path(folder, "tensorboard", run), False
        threading.excepthook = _report_thread
        with self._reported():
            self.writer = SummaryWriter(str(self.folder), purge_step=first_epoch)

    def add(self, record: Mapping[str, Any], figure: Figure | None) -> None:
        """Write an epoch: its metrics, training and validation in one chart, and the figure with maps.

        Raises:
            ToolError: the files cannot be written.
        """
        with self._reported():
            self._add(record, figure)

    def _add(self, record: Mapping[str, Any], figure: Figure | None) -> None:
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
        """Write everything and close the files; an error that was raised before is not raised again."""
        before = self.failed
        try:
            with self._reported():
                self.writer.close()
        except ToolError:
            if not before:
                raise

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Turn an error of the disk into one line."""
        try:
            yield
        except OSError as error:
            self.failed = True
            raise ToolError(f"{self.folder} cannot be written ({error.strerror or error}): free some space, or leave "
                            "--tensorboard out; nothing saved before is lost") from error  # fmt: skip


def _report_thread(args: threading.ExceptHookArgs) -> None:
    """Print nothing about an error of the disk in the writing thread, which the next flush raises again."""
    if not isinstance(args.exc_value, OSError | SystemExit):  # the latter ends a thread silently, as usual
        threading.__excepthook__(args)

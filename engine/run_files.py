"""The files that a training run writes: checkpoints, ``log.jsonl``, ``curves.png`` and TensorBoard's event files."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools import ToolError, checkpoint, run_folder
from tools.distributed.launch import command_line
from tools.figures.curves import save_curves
from tools.files import check_outputs
from tools.folder_lock import Lock, updating
from tools.run_log import RunLog
from tools.tensorboard import EventFiles

logger = logging.getLogger(__name__)


class RunFiles:
    """Files of one run; created on the main process alone.

    Args:
        folder: folder of the files.
        name: name of the run.
        first_epoch: the first epoch to train; log records of an earlier attempt from there on are replaced.
        record: metrics of the last saved epoch, logged now if the run was killed between checkpoint and log.
        tensorboard: write event files too.
        data: that the run is of, for the log and the figure of its curves.
        lock: of the run in its folder; None without one.
    """

    def __init__(
        self, folder: str, name: str, *, first_epoch: int, record: Mapping[str, Any], tensorboard: bool,
        data: str = "", lock: Lock | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.name, self.lock = Path(folder), name, lock
        self.checkpoint = checkpoint.checkpoint_path(folder, name)
        self.log = RunLog(self.folder / "log.jsonl", name, first_epoch=first_epoch)
        self.events = EventFiles(folder, name, first_epoch=first_epoch) if tensorboard else None
        self.data = {"data": data} if data else {}
        if record:
            self.log.restore({**record, **self.data})

    def add_epoch(self, state: Mapping[str, Any], *, best: bool, lr_drop: int) -> None:
        """Save the state after an epoch, log its metrics and draw the curves.

        Every tenth epoch and every ``lr_drop`` epochs leave a numbered checkpoint, as in the published code.
        """
        self.check_lock()
        done = state["epoch"] + 1
        numbered = done % 10 == 0 or done % lr_drop == 0
        checkpoint.save_epoch(self.folder, self.name, state, best=best, numbered=numbered)
        self.log.add({**state["metrics"], **self.data})
        with updating(self.folder / "curves.png"):  # whoever draws last has the records of all runs
            save_curves(self.folder / "curves.png", self.log.records)

    def add_stopped(self, state: Mapping[str, Any]) -> None:
        """Save the state in the middle of an epoch; the best checkpoint of an earlier run is renamed."""
        self.check_lock()
        best = checkpoint.checkpoint_path(self.folder, self.name, "_best")
        if best.is_file() and not run_folder.same_run(checkpoint.read_head(best), state):
            earlier = checkpoint.checkpoint_path(self.folder, self.name, "_best_earlier")
            best.replace(earlier)
            logger.warning("%s was the best epoch of another run; it is now %s", best, earlier.name)
        checkpoint.save(self.checkpoint, state)

    def check_lock(self) -> None:
        """Raise if another process has taken the folder over.

        Raises:
            ToolError: see :meth:`tools.folder_lock.Lock.check`.
        """
        if self.lock:
            self.lock.check()

    def close(self) -> None:
        """Close the event files."""
        if self.events:
            self.events.close()


def check_run_files(folder: str, name: str) -> None:
    """Raise before the first epoch where a file of a run could not be written.

    Raises:
        ToolError: see :func:`tools.files.check_outputs`; or ``tensorboard`` is a file.
    """
    root = Path(folder)
    numbered = [path for path in root.glob("*_checkpoint*.pth") if path.name.startswith(f"{name}_checkpoint")]
    check_outputs(root / "log.jsonl", root / "curves.png", *numbered)
    for place in (root / "tensorboard", root / "tensorboard" / name):
        if place.exists() and not place.is_dir():
            raise ToolError(f"{place} is a file, and a folder of this name is to be written: move it away")


def how_to_continue(
    folder: str, record: Mapping[str, Any], epochs: int, *, epoch: int | None = None, images: int = 0
) -> str:
    """State what is saved of an interrupted run, and the command that continues it.

    Args:
        folder: folder of the run; empty if nothing is saved.
        record: metrics of the last complete epoch; empty before the first.
        epochs: number of epochs of the run.
        epoch: the epoch that was saved before its end, if one was.
        images: pictures done in that epoch.
    """
    if not folder or (not record and epoch is None):
        return "nothing was saved of this run: no epoch was complete, or --output_dir is empty"
    again = f"{command_line().removesuffix(' --resume auto')} --resume auto"  # the last flag counts
    if epoch is None:
        return f"epoch {record['epoch'] + 1} of {epochs} is saved; continue with: {again}"
    return f"interrupted and saved {images} pictures into epoch {epoch + 1} of {epochs}; continue with: {again}"

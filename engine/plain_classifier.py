"""The plain classifier whose backbone a slot model starts from (``--use_pre``)."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools import ToolError, checkpoint
from tools.console import say
from tools.distributed.launch import command_line

logger = logging.getLogger(__name__)


def fold_folder(folder: str, fold: int | None) -> str:
    """Folder of the plain classifier of a fold, if its training had folds, too."""
    own = Path(folder, f"fold={fold}")
    return str(own) if fold and own.is_dir() and list(own.glob("*_no_slot_checkpoint.pth")) else folder


def load_plain(
    folder: str, dataset: str, *, backbones: Sequence[str], swept: Mapping[str, Any],
    class_names: Sequence[str] = (), fold: tuple[int | None, int | None] = (None, None), held_out: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The checkpoint of the plain classifier of a dataset; prints a line if its classes are others.

    Args:
        folder: folder of the checkpoint.
        dataset: its name.
        backbones: the timm models of which it must have one; the first is named in messages.
        swept: single values of the comma lists, for the command that trains it.
        class_names: of the slot model, whose backbone alone comes from the classifier.
        fold: number of the fold that the slot model does not see, and of all folds; a note says if the classifier does.
        held_out: names of the pictures of a fold or of a drawn split that the slot model does not see; the same note.

    Raises:
        ToolError: there is no such file (the message gives the command that makes it), or its backbone is another one.
    """
    path = checkpoint.checkpoint_path(folder, checkpoint.run_name(dataset, use_slot=False, loss_status=1))
    if not path.is_file():
        flags = {**swept, "use_slot": "false", "use_pre": "false", "output_dir": folder}
        remedy = " ".join([command_line(), *(f"--{name} {shlex.quote(str(value))}" for name, value in flags.items())])
        raise ToolError(f"--use_pre true: {path} does not exist; train it with: {remedy}")
    state = checkpoint.load(path)
    if (stored := state["model_config"]["backbone"]) not in backbones:
        raise ToolError(f"--use_pre true: {path} has the backbone {stored}, not {backbones[0]}: "
                        "give --model that backbone, or --pre_dir another folder")  # fmt: skip
    then = state["data_config"].get("cross_validation") or {}
    if fold[0] and (then.get("fold"), then.get("folds")) != fold:
        logger.warning("--use_pre true: %s was trained on pictures of fold %d, so the accuracy on it will be too high: "
                       "train it with --folds %d, too", path, *fold, extra={"once": True})  # fmt: skip
    else:
        known = then.get("held_out") or state["data_config"].get("held_out")
        others = set(held_out).difference(known or held_out)
        if others:
            logger.warning("--use_pre true: %s did not hold out %d of the %d pictures that validate here, so the "
                           "accuracy may be too high: train it again", path, len(others), len(held_out))  # fmt: skip
    other = sorted(set(state["data_config"].get("class_names") or class_names) ^ set(class_names))
    if class_names and other:
        say(f"--use_pre true: {path} has other classes (they differ in {', '.join(other[:5])}"
            f"{', ...' if len(other) > 5 else ''}); its backbone alone is taken")  # fmt: skip
    return state

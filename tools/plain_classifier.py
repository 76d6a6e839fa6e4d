"""The plain classifier whose backbone a slot model starts from (``--use_pre``)."""

import shlex
from collections.abc import Mapping
from typing import Any

from tools import ToolError, checkpoint
from tools.distributed.launch import command_line


def load_plain(folder: str, dataset: str, *, backbone: str, swept: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint of the plain classifier of a dataset.

    Args:
        folder: folder of the checkpoint.
        dataset: its name.
        backbone: timm model that it must have.
        swept: values of the swept flags, for the command in the message.

    Raises:
        ToolError: there is no such file (the message gives the command that makes it), or its backbone is another one.
    """
    path = checkpoint.checkpoint_path(folder, checkpoint.run_name(dataset, use_slot=False, loss_status=1))
    if not path.is_file():
        flags = {**swept, "use_slot": "false", "use_pre": "false", "output_dir": folder}
        remedy = " ".join([command_line(), *(f"--{name} {shlex.quote(str(value))}" for name, value in flags.items())])
        raise ToolError(f"--use_pre true: {path} does not exist; train it with: {remedy}")
    state = checkpoint.load(path)
    if (stored := state["model_config"]["backbone"]) != backbone:
        raise ToolError(f"--use_pre true: {path} has the backbone {stored}, not {backbone}")
    return state

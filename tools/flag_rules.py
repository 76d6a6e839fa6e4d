"""Flags that exclude each other, that need each other, or that another script takes.

They are checked before anything is loaded. The values are those of a command line, by the names of the flags; ``given``
has the names of those that were on it, since a flag that repeats its default contradicts nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

# What --predict, which only writes a table, has no use for.
OF_EXPLANATIONS = (
    "image",
    "vis",
    "vis_id",
    "classes",
    "versus",
    "vis_dir",
    "vis_format",
    "explain_metrics",
    "metric_images",
    "report",
)
OF_DRAWINGS = ("classes", "versus", "vis_dir", "vis_format")
OF_TEST = ("predictions", "report")  # flags of test.py that the other scripts ignore


def refusal(
    script: str, prog: str, values: Mapping[str, Any], given: Collection[str], *, lists: Sequence[str]
) -> str | None:  # fmt: skip
    """The first fault of a command line, as a line; None if there is none.

    Args:
        script: ``train``, ``test``, ``torchcam_vis`` or the name of another program with these flags.
        prog: name of the program in messages.
        values: value of each flag.
        given: the flags that were on the command line.
        lists: flags that take a list of values, a run for each; ``fold`` may be None.
    """
    return (
        _fault_of_folds(script, values)
        or _fault_of_lists(script, prog, values, lists)
        or _fault_of_training(script, prog, values)
        or (_fault_of_predict(values, given) if script == "test" else None)
        or (_fault_of_image(values) if script == "test" else None)
    )


def _fault_of_folds(script: str, values: Mapping[str, Any]) -> str | None:
    folds, fold = values["folds"], values["fold"]
    if script != "train" and folds:
        return "argument --folds: the checkpoint says which fold it was not trained on; leave the flag out"
    for flag in ("fold", "groups"):
        if values[flag] and not folds:
            return f"argument --{flag}: it needs the number of folds, such as --folds 5"
    if folds and fold and max(fold) > folds:
        return f"argument --fold: there are folds 1 to {folds}, not {max(fold)}"
    return None


def _fault_of_lists(script: str, prog: str, values: Mapping[str, Any], lists: Sequence[str]) -> str | None:
    for name in lists:
        own = values[name] or ()
        if len(set(own)) < len(own):
            return f"argument --{name}: a value is given twice; --iterated_evaluation_num repeats a run"
        if script != "train" and len(own) > 1:
            return f"argument --{name}: {prog} takes one value, not a list"
    return None


def _fault_of_training(script: str, prog: str, values: Mapping[str, Any]) -> str | None:
    if script in ("train", "torchcam_vis") and values["predict"]:
        return f"argument --predict: {prog} predicts no pictures; give the flag to test.py"
    if script != "train":
        return None
    if values["checkpoint"]:
        return "argument --checkpoint: train.py continues a run with --resume FILE"
    if values["start_epoch"] >= values["epochs"] > 0 and values["resume"] is None:
        return (f"argument --start_epoch: epochs 0 to {values['epochs'] - 1} of --epochs {values['epochs']} can be the "
                f"first, not {values['start_epoch']}")  # fmt: skip
    if values["split"] != "val":
        return f"argument --split: train.py validates on val, not on {values['split']}; give the flag to test.py"
    return None


def _fault_of_predict(values: Mapping[str, Any], given: Collection[str]) -> str | None:
    if not values["predict"]:
        return None
    for name in OF_EXPLANATIONS:
        if name in given and values[name] not in (False, None):
            return f"argument --predict: it only writes a table of predictions; leave out --{name}, or --predict"
    if "split" in given:
        return "argument --predict: it replaces the split; leave out --split, or --predict"
    return None


def _fault_of_image(values: Mapping[str, Any]) -> str | None:
    if values["image"] and values["predictions"]:
        return "--predictions is the table of a split, which --image replaces: give --predict instead"
    if values["image"] and values["explain_metrics"]:
        return "--explain_metrics true needs the validation split, which --image replaces: leave one out"
    return None


def ignored(script: str, values: Mapping[str, Any], given: Collection[str]) -> list[str]:
    """A line for each given flag that has no effect without, or beside, another one.

    A file of flags may serve several scripts, so that such flags are no error. train.py ignores all flags of
    explanations, as published.
    """
    notes = [f"--{name} is ignored: test.py takes it" for name in OF_TEST
             if script in ("train", "torchcam_vis") and values[name]]  # fmt: skip
    if values["folds"] and "val_ratio" in given:
        notes.append("--val_ratio is ignored: a fold of --folds validates")
    if script == "train" and values["use_pre"] and "backbone_weights" in given:
        notes.append("--backbone_weights is ignored: with --use_pre true the weights are of the plain classifier")
    if script not in ("test", "torchcam_vis") or values["thop"] or values["predict"]:
        return notes
    if values["image"] and "vis_id" in given:
        notes.append("--vis_id is ignored: --image replaces the pictures of the split")
    if not draws(script, values, given):
        notes += [f"--{name} is ignored: nothing is drawn without --vis true, --vis_id or --image"
                  for name in OF_DRAWINGS if name in given]  # fmt: skip
    if values["metric_images"] and not values["explain_metrics"]:
        notes.append("--metric_images is ignored: nothing is measured without --explain_metrics true")
    return notes


def draws(script: str, values: Mapping[str, Any], given: Collection[str]) -> bool:
    """Whether test.py or torchcam_vis.py draws explanations."""
    if script == "torchcam_vis":
        return bool(values["vis"] or values["image"] or "vis_id" in given or not values["explain_metrics"])
    return bool(values["vis"] or values["image"] or ("vis_id" in given and "vis" not in given))

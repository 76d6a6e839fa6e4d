"""Check of the content of a checkpoint: type and range of every entry that the program reads.

The options of the slot head have their own check, :class:`sloter.config.SlotConfig`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tools import ToolError

MAX_CLASSES, MAX_SIDE, MAX_CHANNELS, MAX_EPOCH = 1_000_000, 100_000, 10_000, 1_000_000


class Rule(NamedTuple):
    """Rule for a value: what it must be, in words, and the test."""

    text: str
    holds: Callable[[Any], bool]
    required: bool = True


def whole(low: int, high: int, *, required: bool = True) -> Rule:
    """Rule for an int within inclusive bounds."""
    return Rule(f"a whole number from {low} to {high}", lambda v: type(v) is int and low <= v <= high, required)


def real(low: float, high: float, *, required: bool = True) -> Rule:
    """Rule for a finite number within inclusive bounds."""
    return Rule(f"a number from {low:g} to {high:g}", lambda v: is_real(v) and low <= v <= high, required)


def is_real(value: Any) -> bool:
    """Whether a value is a finite int or float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def is_plain(value: Any) -> bool:
    """Whether a value consists of text, numbers, None, and lists and dicts with text keys of these."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(entry) for key, entry in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _is_size(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(whole(1, MAX_SIDE).holds(v) for v in value)


def _is_stage(value: Any) -> bool:
    return value is None or whole(1, 100).holds(value)


def _is_statistic(low: float) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        return isinstance(value, list | tuple) and len(value) > 0 and all(is_real(v) and low < v < 1e6 for v in value)

    return holds


def _is_names(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(isinstance(name, str) for name in value))


def _is_best(value: Any) -> bool:
    return (isinstance(value, dict) and isinstance(value.get("metric"), str)
            and whole(-1, MAX_EPOCH).holds(value.get("epoch"))
            and (value.get("value", "") is None or is_real(value.get("value"))))  # fmt: skip


def _is_fold(value: Any) -> bool:
    if value is None:
        return True
    names = value.get("held_out") if isinstance(value, dict) else None
    return (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
            and all(whole(1, MAX_EPOCH).holds(value.get(key)) for key in ("folds", "fold"))
            and isinstance(value.get("groups", None), str | None))  # fmt: skip


def _is_random(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(rank, dict) and all(isinstance(t, Tensor) and t.dtype == torch.uint8 for t in rank.values())
        for rank in value
    )


_NAME = Rule("a name", lambda v: isinstance(v, str) and 0 < len(v) < 1000)
_PLAIN = Rule("names and plain values", lambda v: isinstance(v, Mapping) and is_plain(v))
SUMS = ("loss", "ce", "attn_mean", "area_loss", "top1", "top5")  # of the pictures of an epoch that was stopped
_SUMS = Rule(f"numbers named {', '.join(SUMS)}", lambda v: isinstance(v, dict) and all(is_real(v.get(x)) for x in SUMS))
# Arguments of build_model that a checkpoint does not store: a file must not set them.
_ABSENT = Rule("left out", lambda v: False, required=False)
RULES: dict[str, dict[str, Rule]] = {
    "": {
        "model_config": _PLAIN,
        "data_config": _PLAIN,
        "train_config": _PLAIN,
        "epoch": whole(-1, MAX_EPOCH),
        "metrics": Rule("named plain values", lambda v: isinstance(v, dict) and is_plain(v), required=False),
        "best_top1": real(-1, 1, required=False),
        "best": Rule("a metric, its value and an epoch", _is_best, required=False),
        "initial_weights": Rule("a text", lambda v: isinstance(v, str), required=False),
        "optimizer": Rule("a dict", lambda v: isinstance(v, dict), required=False),
        "scaler": Rule("a dict", lambda v: isinstance(v, dict), required=False),
        "stopped": Rule("a dict", lambda v: isinstance(v, dict), required=False),
        "run_id": Rule("a text", lambda v: isinstance(v, str), required=False),
    },
    "model_config": {
        "backbone": _NAME,
        "num_classes": whole(1, MAX_CLASSES),
        "use_slot": Rule("True or False", lambda v: isinstance(v, bool)),
        "in_chans": whole(1, MAX_CHANNELS),
        "img_size": Rule("height and width in pixels", _is_size),
        "out_stage": Rule("None or the number of a stage", _is_stage, required=False),
        "stem": Rule("timm or 3x3", lambda v: isinstance(v, str) and v in ("timm", "3x3"), required=False),
        **dict.fromkeys(("pretrained", "weights", "weights_source", "freeze_stages"), _ABSENT),
    },
    "data_config": {
        "dataset": _NAME,
        **dict.fromkeys(("class_names", "wnids"), Rule("None or a list of names", _is_names, required=False)),
        "val_ratio": real(0, 1, required=False),
        "val_from_train": Rule("True or False", lambda v: isinstance(v, bool), required=False),
        "held_out": Rule("None or a list of names", _is_names, required=False),
        "cross_validation": Rule("None, or a fold and its pictures", _is_fold, required=False),
        "mean": Rule("a finite number for each channel", _is_statistic(-1e6)),
        "std": Rule("a positive number for each channel", _is_statistic(0)),
    },
    "train_config": {
        "lambda_value": real(0, 1e30),
        "power": real(0, 1e30),
        "dataset_dir": Rule("None or a folder", lambda v: v is None or isinstance(v, str), required=False),
    },
    # Version 0.1 saved a share outside of [0, 1] in runs that were stopped twice, with different sizes of a batch.
    "stopped": {"images": whole(0, 2**53), "sums": _SUMS, "seconds": real(0, 1e12), "share": real(-1e6, 1e6),
                "pictures": whole(1, 2**53, required=False), "random": Rule("RNG states", _is_random)},
    "metrics": {"epoch": whole(-1, MAX_EPOCH, required=False), "val_top1": real(0, 1, required=False)},
}  # fmt: skip


def check_content(content: Mapping[str, Any], source: object) -> None:
    """Check everything in a checkpoint that the program reads, except the options of the slot head.

    Args:
        content: the checkpoint, under today's names.
        source: its file, for the message.

    Raises:
        ToolError: an entry is missing, of another type or out of range, or a weight is not a finite number; the
            message names the first one and its value.
    """
    fault = next(_faults(content), None)
    if fault:
        raise ToolError(f"{source}: {fault}; the file is damaged or was changed: give another one")


def _faults(content: Mapping[str, Any]) -> Iterator[str]:
    for place, rules in RULES.items():
        values = content if not place else content.get(place)
        if not values:
            values = {}
            if place in ("stopped", "metrics"):
                continue
        for name, rule in rules.items():
            if name in values and not rule.holds(values[name]):
                yield f"{place and place + ' '}{name} must be {rule.text}, not {brief(values[name])}"
            if name not in values and rule.required:
                yield f"{place and place + ' '}{name} is missing"
    model, data = content["model_config"], content["data_config"]
    for name in ("mean", "std"):
        if len(data[name]) != model["in_chans"]:
            yield f"data_config {name} has {len(data[name])} values for {model['in_chans']} channels"
    for name in ("class_names", "wnids"):
        names = data.get(name)
        if names and len(names) != model["num_classes"]:
            yield f"data_config {name} has {len(names)} names for {model['num_classes']} classes"
    for key in ("model", "raw_model"):
        if key in content:
            yield from weight_faults(content[key], of=key)


def weight_faults(state: Any, *, of: str) -> Iterator[str]:
    """Faults of a state dict, in words: no dict of named tensors, or a tensor with a value that is not finite."""
    if not isinstance(state, Mapping):
        yield f"{of} must be named tensors, not {brief(state)}"
        return
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            yield f"{of} {brief(name)} must be a tensor, not {brief(value)}"
        elif not is_finite(value):
            yield f"{of} {name} has values that are not finite numbers"


def is_finite(tensor: Tensor) -> bool:
    """Whether no value of a tensor is NaN or infinite; the sum, which is fast, decides in nearly all cases."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def brief(value: Any) -> str:
    """Representation of a value in at most 60 characters; of a tensor, its shape."""
    text = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Every option of the slot head, once: its name, default, check and help.

The flag, the keyword of :func:`sloter.slot_model.build_model`, the key in a checkpoint and the head study's
``--change`` are derived from the fields of :class:`SlotConfig`. The defaults are the published form, so a key that an
old checkpoint lacks means the published form. Nothing heavy is imported, so that ``--help`` is answered at once.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sloter import ModelError


def option(
    default: Any,
    help: str,
    *,
    flag: str = "",
    metavar: str = "",
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    multiple_of: int | None = None,
    effect: str = "forward",
) -> Any:
    """A field of a configuration, with everything that a flag and a check need.

    Args:
        default: its value when nothing is said.
        help: what it does, for ``--help`` and the documentation.
        flag: the command-line flag where it has another name than the field.
        metavar: what stands for the value in ``--help``.
        choices: the only valid values.
        low, high: bounds that are themselves valid.
        above, below: bounds that are not.
        multiple_of: what divides a valid value.
        effect: what the option changes: the ``forward`` pass, ``training`` alone, or only the ``start`` of a run. A
            trained model contradicts a flag of the first kind only.
    """
    rules = {"low": low, "above": above, "high": high, "below": below, "multiple_of": multiple_of}
    rules = {name: value for name, value in rules.items() if value is not None}
    about = {"help": help, "flag": flag, "metavar": metavar, "choices": choices, "rules": rules, "effect": effect}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class SlotConfig:
    """The options of the slot head; see ``help`` of each field.

    Raises:
        ModelError: a value of the wrong type or out of bounds.
    """

    hidden_dim: int = option(
        64, "width of keys, values and slots, a multiple of 4", metavar="N", low=4, high=65536, multiple_of=4
    )
    slots_per_class: int = option(3, "slots of each class", metavar="N", low=1, high=1000)
    iters: int = option(
        3, "iterations of slot attention; between two of them a GRU updates the slots", metavar="N", low=1, high=100
    )
    to_k_layers: int = option(
        1, "linear layers that make the keys; 0: the keys are their input", flag="to_k_layer", metavar="N", low=0,
        high=100,
    )  # fmt: skip
    attention: str = option(
        "paper", "how slot-key products become attention: paper, the published normalisation, or qknorm, a sigmoid of "
        "the cosine with learned scale and bias, which stays stable with many classes", choices=("paper", "qknorm"),
    )  # fmt: skip
    logit_scale: float = option(
        10.0, "initial factor of the cosine in qknorm; it is learned from there; lower makes attention softer",
        metavar="X", above=0, high=1e4, effect="start",
    )  # fmt: skip
    value_weighting: str = option(
        "mean", "what attention to a place adds to the logit: the mean of the value there, as published, or one "
        "learned number for all places (equal), which makes the attention map the evidence", choices=("mean", "equal"),
    )  # fmt: skip
    position: str = option(
        "sine",
        "position encoding added to the input of the keys: sine, as published, or none",
        choices=("sine", "none"),
    )
    dropout: float = option(
        0.0, "share of the backbone's channels that the head drops in each training step", metavar="X", low=0, below=1,
        effect="training",
    )  # fmt: skip
    salience: float = option(
        0.0, "scale attention at each place by the norm of the backbone's features there, relative to the largest norm "
        "in the picture, to this power; 0: no scaling, as published", metavar="P", low=0, high=1e3,
    )  # fmt: skip
    reference: str = option(
        "none", "attention that counts as zero at a place: none, as published, or min, the smallest attention of any "
        "slot there, so that a map shows what sets its class apart", choices=("none", "min"),
    )  # fmt: skip
    slot_init: str = option(
        "random", "initial slots: random, as published, or means, the mean key of each class in the training set",
        choices=("random", "means"), effect="start",
    )  # fmt: skip
    loss_status: int = option(
        1, "1: positive model, whose maps support their class; -1: negative model, whose maps speak against it",
        choices=(1, -1),
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)


def check_options(config: Any, error: type[ValueError] = ModelError) -> None:
    """Check the type and bounds of every field made by :func:`option`.

    Raises:
        error: the first field that is wrong, with its value and what is valid.
    """
    for field in options_of(config):
        value = getattr(config, field.name)
        choices = field.metadata["choices"]
        if choices and value not in choices:
            raise error(f"unknown {field.name} {value!r}: choose one of {', '.join(map(str, choices))}")
        if fault := _type_fault(field.type, value) or rule_fault(value, field.metadata["rules"]):
            raise error(f"{field.name} {fault}, not {value!r}")


def options_of(config: Any) -> list[dataclasses.Field]:
    """The fields of a configuration (a class or an instance) that :func:`option` made."""
    return [field for field in dataclasses.fields(config) if "help" in field.metadata]


def _type_fault(expected: Any, value: Any) -> str:
    if expected is float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        good = type(value) is expected
    return "" if good else f"must be of type {expected.__name__}"


def rule_fault(value: Any, rules: Mapping[str, float]) -> str:
    """What a number breaks of ``low``, ``above``, ``high``, ``below`` and ``multiple_of``; empty if nothing."""
    checks = {
        "low": ("must be at least", lambda bound: value >= bound),
        "above": ("must be above", lambda bound: value > bound),
        "high": ("must be at most", lambda bound: value <= bound),
        "below": ("must be below", lambda bound: value < bound),
        "multiple_of": ("must be a multiple of", lambda bound: value % bound == 0),
    }
    for name, bound in rules.items():
        text, holds = checks[name]
        if not holds(bound):
            return f"{text} {bound:g}"
    return ""


OPTIONS = tuple(field.name for field in options_of(SlotConfig))


def slot_config(options: Mapping[str, Any]) -> SlotConfig:
    """The configuration of some keywords; what is missing has its default, the published form.

    Raises:
        ModelError: an unknown keyword, or a wrong value.
    """
    if unknown := [name for name in options if name not in OPTIONS]:
        raise ModelError(f"unknown option '{unknown[0]}' of the slot head: choose of {', '.join(OPTIONS)}")
    return SlotConfig(**options)


def differences(config: Mapping[str, Any], other: Mapping[str, Any], *effects: str) -> list[tuple[str, Any, Any]]:
    """Options of these effects in which two stored configurations differ: name, value in each."""
    mine, theirs = (slot_config({k: v for k, v in c.items() if k in OPTIONS}) for c in (config, other))
    names = [field.name for field in options_of(SlotConfig) if field.metadata["effect"] in effects]
    pairs = [(name, getattr(mine, name), getattr(theirs, name)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]

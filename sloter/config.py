"""Options of the slot head, each defined once: name, default, valid values and help text.

The flag, the keyword of :func:`sloter.slot_model.build_model`, the key in a checkpoint and the head study's
``--change`` are derived from the fields of :class:`SlotConfig`. The defaults are the published form, so a key that is
missing in an old checkpoint means the published form. The module imports no torch, so that ``--help`` is instant.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from sloter import ModelError

REFERENCES = ("none", "min", "mean", "quantile")  # see sloter.reference


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
    """Define a field of a configuration dataclass, with the metadata that its flag and its check need.

    Args:
        default: default value.
        help: meaning of the option, for ``--help`` and the documentation.
        flag: name of the command-line flag if it differs from that of the field.
        metavar: placeholder of the value in ``--help``.
        choices: the valid values, if they can be listed.
        low, high: inclusive bounds.
        above, below: exclusive bounds.
        multiple_of: divisor of every valid value.
        effect: what the option changes: the ``forward`` pass, ``training`` only, only the ``start`` of a run, or the
            ``reading`` of the evidence. Only a flag of the first kind can contradict a trained model; one of the last
            may be given to it.
    """
    rules = {"low": low, "above": above, "high": high, "below": below, "multiple_of": multiple_of}
    rules = {name: value for name, value in rules.items() if value is not None}
    about = {"help": help, "flag": flag, "metavar": metavar, "choices": choices, "rules": rules, "effect": effect}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True)
class SlotConfig:
    """Options of the slot head; the ``help`` of each field describes it.

    Raises:
        ModelError: a value of the wrong type or out of bounds.
    """

    hidden_dim: int = option(
        64, "width of keys, values and slots; a multiple of 4", metavar="N", low=4, high=65536, multiple_of=4
    )
    slots_per_class: int = option(3, "number of slots per class", metavar="N", low=1, high=1000)
    iters: int = option(
        3, "iterations of slot attention; a GRU updates the slots between two iterations", metavar="N", low=1, high=100
    )
    to_k_layers: int = option(
        1, "number of linear layers, with ReLU between them, that compute the keys; 0: the input of the keys is used "
        "as the keys", flag="to_k_layer", metavar="N", low=0, high=100,
    )  # fmt: skip
    attention: str = option(
        "paper", "argument of the attention sigmoid: paper, the slot-key products with the published normalisation, or "
        "qknorm, the cosine of slot and key with a learned scale and bias, which stays stable with many classes",
        choices=("paper", "qknorm"),
    )  # fmt: skip
    logit_scale: float = option(
        10.0, "initial value of the learned scale of the cosine in qknorm; a lower value makes attention softer",
        metavar="X", above=0, high=1e4, effect="start",
    )  # fmt: skip
    value_weighting: str = option(
        "mean", "weight of each place's attention in the logit: mean, the mean of the value vector there, as "
        "published, or equal, one learned number for all places, which makes the attention map the evidence map",
        choices=("mean", "equal"),
    )  # fmt: skip
    position: str = option(
        "sine",
        "position encoding that is added to the input of the keys: sine, as published, or none",
        choices=("sine", "none"),
    )
    dropout: float = option(
        0.0, "probability with which each channel of the backbone's features is dropped, in training only",
        metavar="X", low=0, below=1, effect="training",
    )  # fmt: skip
    salience: float = option(
        0.0, "multiply the attention at each place by its relative feature norm (1 at the largest in the picture) to "
        "the power P; 0: no factor, as published", metavar="P", low=0, high=1e3,
    )  # fmt: skip
    reference: str = option(
        "none", "reference from which the attention of every class is measured at each place: none, as published; min, "
        "mean or quantile, taken over the classes there, so that a map shows what distinguishes its class; all of them "
        "give the same probabilities", choices=REFERENCES,
        effect="reading",
    )  # fmt: skip
    reference_quantile: float = option(
        0.95, "quantile over classes for --reference quantile, at most the second largest value, which 1 means",
        metavar="Q", low=0.5, high=1, effect="reading",
    )  # fmt: skip
    slot_init: str = option(
        "random", "initial slots: random, as published, or means, computed from the mean key of each class over the "
        "training set", choices=("random", "means"), effect="start",
    )  # fmt: skip
    loss_status: int = option(
        1, "1: positive model, whose maps show evidence for their class; -1: negative model, with evidence against it",
        choices=(1, -1),
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)


def check_options(config: Any, error: type[ValueError] = ModelError) -> None:
    """Check the type and the value of every field defined by :func:`option`.

    Raises:
        error: for the first invalid field, with its value and the valid ones.
    """
    for field in options_of(config):
        value = getattr(config, field.name)
        choices = field.metadata["choices"]
        if choices and value not in choices:
            raise error(f"unknown {field.name} {value!r}: choose one of {', '.join(map(str, choices))}")
        if fault := _type_fault(field.type, value) or _rule_fault(value, field.metadata["rules"]):
            raise error(f"{field.name} {fault}, not {value!r}")


def options_of(config: Any) -> list[dataclasses.Field]:
    """Fields of a configuration (a class or an instance) that were defined by :func:`option`."""
    return [field for field in dataclasses.fields(config) if "help" in field.metadata]


def option_values(config: Any, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a configuration from the values of its flags."""
    return {field.name: flags[field.metadata["flag"] or field.name] for field in options_of(config)}


def _type_fault(expected: Any, value: Any) -> str:
    if expected is float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        good = type(value) is expected
    return "" if good else f"must be of type {expected.__name__}"


def _rule_fault(value: Any, rules: Mapping[str, float]) -> str:
    """First of the rules ``low``, ``above``, ``high``, ``below`` and ``multiple_of`` that a number breaks, in words."""
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


def options_with(*effects: str) -> list[str]:
    """Names of the options of the slot head with one of these effects."""
    return [field.name for field in options_of(SlotConfig) if field.metadata["effect"] in effects]


OPTIONS = tuple(field.name for field in options_of(SlotConfig))


def slot_config(options: Mapping[str, Any]) -> SlotConfig:
    """Make a configuration from keywords; a missing one has its default, the published form.

    Raises:
        ModelError: an unknown keyword, or an invalid value.
    """
    if unknown := [name for name in options if name not in OPTIONS]:
        raise ModelError(f"unknown option '{unknown[0]}' of the slot head: choose one of {', '.join(OPTIONS)}")
    return SlotConfig(**options)


def _stored_options(config: Mapping[str, Any]) -> SlotConfig:
    """Options of the slot head in a stored model configuration, which has other keys too."""
    return slot_config({name: value for name, value in config.items() if name in OPTIONS})


def differences(config: Mapping[str, Any], other: Mapping[str, Any], *effects: str) -> list[tuple[str, Any, Any]]:
    """List the options with one of these effects that differ between two stored configurations.

    Returns:
        For each such option its name, its value in ``config`` and its value in ``other``.
    """
    first, second = _stored_options(config), _stored_options(other)
    triples = [(name, getattr(first, name), getattr(second, name)) for name in options_with(*effects)]
    return [triple for triple in triples if triple[1] != triple[2]]


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored model configuration with every option of the slot head; a missing one has its default.

    Raises:
        ModelError: an option is wrong.
    """
    if not config.get("use_slot", True):
        return dict(config)
    return {**config, **dataclasses.asdict(_stored_options(config))}


def start_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a stored configuration that matter only at the start of a run; a resumed run keeps them."""
    options = _stored_options(config)
    return {name: getattr(options, name) for name in options_with("start")}


def picture_size(img_size: Any) -> tuple[int, int]:
    """Size (H, W) of pictures in pixels, from a pair of positive whole numbers.

    Raises:
        ModelError: it is none, such as one number.
    """
    try:
        h, w = img_size
        if all(isinstance(side, Integral) and int(side) > 0 for side in (h, w)):
            return int(h), int(w)
    except (TypeError, ValueError):
        pass
    raise ModelError(f"img_size {img_size!r}: give the height and the width in pixels, such as (224, 224)")

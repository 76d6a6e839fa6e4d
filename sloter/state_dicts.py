"""Loading of a state dict into a backbone: names without wrappers, timm's own conversions, an account of the match."""

import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Mapping

from timm.models import adapt_input_conv
from torch import Tensor

from sloter import ModelError
from sloter.stages import TimmModel

logger = logging.getLogger(__name__)

# Names that torch puts in the middle of the name of a tensor whose module it wraps.
INSERTED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
# Where a file has two copies of a backbone, the first of these that matches is taken: as in DINO and its successors,
# the teacher is the model to use. Two copies of other names: the first in the file.
PREFERRED = ("teacher", "ema", "model_ema")
WRAPPERS = {"module", "model", "backbone", "encoder", "student", "net", "network", "trunk", "base_encoder", *PREFERRED}
MAX_LISTED = 8  # names of tensors in a message


def convert_weights(backbone: TimmModel, state: Mapping[str, Tensor], *, in_chans: int) -> dict[str, Tensor]:
    """Convert a state dict to the names and shapes of a whole timm model, by timm's own functions.

    Wrappers before the names (``module.``, ``model.``, ``backbone.`` and any other that fits) are removed, position
    embeddings resized, and a first convolution for another number of channels is adapted.

    Args:
        backbone: the model before it is cut.
        state: state dict of the same architecture.
        in_chans: channels of the model's pictures.
    """
    own = set(backbone.state_dict())
    state = {_without_inserted(name): value for name, value in state.items()}
    best: dict[str, Tensor] = {}
    most, chosen = -1, ""
    for prefix in _prefixes(list(state), own):
        converted = _convert(backbone, _inside(state, prefix), in_chans=in_chans)
        matched = len(own & set(converted))
        if matched > most:
            best, most, chosen = converted, matched, prefix
        if matched == len(own):
            break
    taken = len(_inside(state, chosen))
    if taken < len(state):
        logger.warning("of the %d tensors of the weights, the %d whose names start with '%s' are taken",
                       len(state), taken, chosen)  # fmt: skip
    return best


def _without_inserted(name: str) -> str:
    for part in INSERTED:
        name = name.replace(part, "")
    return name


def _inside(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _prefixes(names: list[str], own: set[str]) -> list[str]:
    """Prefixes under which the model may be, likely ones first: none, those that fit its names, wrappers."""
    found: Counter[str] = Counter({"": 0})
    wrappers: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for depth in range(len(parts)):
            prefix = "".join(f"{part}." for part in parts[:depth])
            found[prefix] += ".".join(parts[depth:]) in own
            if all(part in WRAPPERS for part in parts[:depth]):
                wrappers[prefix] = None
    fitting = [prefix for prefix, count in found.items() if 2 * count >= len(own)]
    ranked = sorted(dict.fromkeys([*fitting, *wrappers]), key=lambda prefix: (-found[prefix], not _preferred(prefix)))
    return ranked or [""]


def _preferred(prefix: str) -> bool:
    return any(part in PREFERRED for part in prefix.split("."))


def _convert(backbone: TimmModel, state: dict[str, Tensor], *, in_chans: int) -> dict[str, Tensor]:
    """Convert names and shapes by the functions of the model's family."""
    filter_fn = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if filter_fn is not None:
        with contextlib.suppress(Exception):  # for weights of another family, load_weights lists the differences
            state = dict(filter_fn(dict(state), backbone))
    own = backbone.state_dict()
    for stem in _names(backbone.pretrained_cfg.get("first_conv")):
        key = f"{stem}.weight"
        if key in state and key in own and state[key].ndim == 4 and state[key].shape[1] != own[key].shape[1]:
            with contextlib.suppress(AssertionError, NotImplementedError):  # of a number that timm cannot adapt
                state = {**state, key: adapt_input_conv(in_chans, state[key])}
    return state


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Raise unless all values of a state dict are finite: training from others fails whatever its learning rate.

    Raises:
        ModelError: some are not; the message names the first parameters.
    """
    if bad := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise ModelError(f"{source}: {len(bad)} parameters have values that are not finite ({', '.join(bad[:3])}); "
                         "give an earlier checkpoint, or weights of another run")  # fmt: skip


def load_weights(backbone: TimmModel, state: dict[str, Tensor], *, uncut_names: set[str], source: str) -> None:
    """Load a converted state dict into a timm model and log how many of its tensors matched, and which did not.

    A classifier of another size, or one that the model does not have, is left out with a warning.

    Args:
        backbone: the model, which may have been cut.
        state: state dict from :func:`convert_weights`.
        uncut_names: names in the model's state dict before it was cut; further ones are unexpected.
        source: name of the state dict in messages.

    Raises:
        ModelError: values are not finite, or fewer than half of the model's tensors match in name and shape; the
            message lists the others.
    """
    check_finite(state, source)
    own = backbone.state_dict()
    head = tuple(f"{name}." for name in _names(backbone.pretrained_cfg.get("classifier")))
    left_out = [key for key in state if key.startswith(head) and (key not in own or own[key].shape != state[key].shape)]
    if left_out:
        logger.warning("%s: its classifier of %d classes is left out", source, _classes(state[left_out[0]]))
    state = {key: value for key, value in state.items() if key not in left_out}
    needed = [key for key in own if not key.startswith(head) and "num_batches" not in key]
    matched = [key for key in needed if key in state and own[key].shape == state[key].shape]
    problems = {
        "missing": [key for key in needed if key not in state],
        "unexpected": [key for key in state if key not in own and key not in uncut_names],
        "of another shape": [key for key in state if key in own and own[key].shape != state[key].shape],
    }
    listed = "; ".join(f"{len(keys)} {problem}: {_listed(keys)}" for problem, keys in problems.items() if keys)
    name = backbone.pretrained_cfg.get("architecture")
    count = f"{len(matched)} of the {len(needed)} tensors"
    if 2 * len(matched) < len(needed):
        raise ModelError(f"{source} does not fit the backbone '{name}': {count} match; {listed}; give weights of this "
                         "model")  # fmt: skip
    logger.warning("%s: %s of the backbone '%s' are loaded%s", source, count, name, f"; {listed}" if listed else "")
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    backbone.load_state_dict(fitting, strict=False)


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:MAX_LISTED]) + (" ..." if len(keys) > MAX_LISTED else "")


def _classes(weight: Tensor) -> int:
    return weight.shape[0] if weight.ndim else 0


def _names(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry or ())

"""Where the weights of a backbone come from: timm's hub, or a state dict that was read before."""

import contextlib
import http.client
import logging
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import huggingface_hub
import timm
from timm.models import adapt_input_conv
from torch import Tensor

from sloter import ModelError

logger = logging.getLogger(__name__)

PATIENCE = 8.0  # seconds that the hub has to answer before it counts as out of reach
WAYS_OUT = "give --pre_trained false to train from scratch, or --backbone_weights FILE with weights at hand"


def pretrained_source(name: str) -> dict[str, Any]:
    """What ``timm.create_model`` needs to find the pretrained weights of ``name``: a cached file or the hub.

    Asks the hub once, briefly: its own client would retry for most of a minute.

    Raises:
        ModelError: timm knows no weights for this model, or they are neither cached nor within reach.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not (config.hf_hub_id or config.url):
        raise ModelError(f"timm has no pretrained weights for '{name}': {WAYS_OUT}")
    files = ("model.safetensors", "pytorch_model.bin")
    for file in files if config.hf_hub_id else ():
        cached = huggingface_hub.try_to_load_from_cache(str(config.hf_hub_id), file)
        if isinstance(cached, str):
            return {"pretrained_cfg_overlay": {"file": cached}}
    addresses = [str(config.url)]
    if config.hf_hub_id:
        addresses = [huggingface_hub.hf_hub_url(str(config.hf_hub_id), file) for file in files]
    fault = "switched off by HF_HUB_OFFLINE" if huggingface_hub.constants.HF_HUB_OFFLINE else _fault(addresses)
    if fault is not None:
        raise ModelError(f"the pretrained weights of '{name}' cannot be downloaded ({fault}): {WAYS_OUT}")
    return {}


def pretrained_statistics(name: str) -> dict[str, tuple[float, ...]]:
    """``mean`` and ``std`` of the three channels that timm's weights of a model expect; {} for an unknown one.

    A name after a dot is one that :func:`sloter.backbone.check_name` knows.
    """
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return {} if config is None else {"mean": tuple(config.mean), "std": tuple(config.std)}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to other servers alone: the hub answers with one, and what it leads to may refuse a HEAD."""

    def redirect_request(self, *args: Any) -> None:
        return None


def _head(address: str) -> str | None:
    """Why an address cannot be had, None if it can."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.build_opener(_NoRedirect).open(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError as error:
        return None if error.code < 400 else f"{address} answers {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer from {address}: {getattr(error, 'reason', error)}"
    return None


def _fault(addresses: list[str]) -> str | None:
    """Why none of the addresses can be had, None if one can; in a thread, since name look-ups ignore time-outs."""
    faults: list[str | None] = []

    def ask() -> None:
        for address in addresses:
            faults.append(_head(address))
            if faults[-1] is None:
                return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if None in faults:
        return None
    return faults[0] if faults else f"no answer from {addresses[0]} in {PATIENCE:.0f} seconds"


def convert_weights(backbone: Any, state: dict[str, Tensor], *, in_chans: int) -> dict[str, Tensor]:
    """A state dict as a whole timm model (not yet cut) names and shapes it, by timm's own means.

    Position embeddings are resized, and a first convolution for another number of channels is adapted.
    """
    filter_fn = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if filter_fn is not None:
        with contextlib.suppress(Exception):  # weights of another family: load_weights will list what does not fit
            state = dict(filter_fn(dict(state), backbone))
    own = backbone.state_dict()
    for stem in _names(backbone.pretrained_cfg.get("first_conv")):
        key = f"{stem}.weight"
        if key in state and key in own and state[key].ndim == 4 and state[key].shape[1] != own[key].shape[1]:
            state = {**state, key: adapt_input_conv(in_chans, state[key])}
    return state


def load_weights(backbone: Any, state: dict[str, Tensor], *, beyond: set[str], source: str) -> None:
    """Fill a timm model from a converted state dict, in place.

    A classifier of another size, or one for which the model has no place, is left out and said so.

    Args:
        backbone: the model, perhaps cut.
        state: see :func:`convert_weights`.
        beyond: names of the whole model, which may be in the state dict though they have been cut off.
        source: what messages call the state dict.

    Raises:
        ModelError: any other parameter is missing, unexpected or of another shape; it lists them.
    """
    own = backbone.state_dict()
    head = tuple(f"{name}." for name in _names(backbone.pretrained_cfg.get("classifier")))
    left_out = [key for key in state if key.startswith(head) and (key not in own or own[key].shape != state[key].shape)]
    if left_out:
        logger.warning("%s: its classifier of %d classes is left out", source, state[left_out[0]].shape[0])
    state = {key: value for key, value in state.items() if key not in left_out}
    problems = {
        "missing": [key for key in own if key not in state and not key.startswith(head) and "num_batches" not in key],
        "unexpected": [key for key in state if key not in own and key not in beyond],
        "of another shape": [key for key in state if key in own and own[key].shape != state[key].shape],
    }
    listed = [
        f"{len(keys)} {what}: {', '.join(keys[:8])}{' ...' if len(keys) > 8 else ''}"
        for what, keys in problems.items()
        if keys
    ]
    if listed:
        name = backbone.pretrained_cfg.get("architecture")
        raise ModelError(f"{source} does not fit the backbone '{name}': {'; '.join(listed)}")
    backbone.load_state_dict(state, strict=False)


def _names(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


@dataclass(frozen=True)
class InitialWeights:
    """The initial weights of a backbone.

    Attributes:
        keywords: of :func:`sloter.slot_model.build_model`.
        statistics: mean and standard deviation that the weights expect of their pictures; {} for those of the data.
        stem: the backbone's stem, see :func:`sloter.backbone.create_backbone`.
    """

    keywords: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    stem: str = "timm"


def initial_weights(
    backbone: str, *, in_chans: int, pretrained: bool, file: tuple[str, dict[str, Tensor]] | None = None,
    classifier: dict[str, Any] | None = None,
) -> InitialWeights:  # fmt: skip
    """Choose the initial weights: those of a plain classifier, of a file, or timm's.

    Args:
        backbone: a model name of timm.
        in_chans: channels of the pictures.
        pretrained: take timm's weights.
        file: take this state dict instead; its name first.
        classifier: take those of this checkpoint of a plain classifier instead.
    """
    if classifier:
        state = {k.removeprefix("backbone."): v for k, v in classifier["model"].items() if k.startswith("backbone.")}
        statistics = {key: classifier["data_config"][key] for key in ("mean", "std")}
        own = {"weights": state, "weights_source": "the checkpoint of --use_pre"}
        return InitialWeights(own, statistics, classifier["model_config"].get("stem", "timm"))
    keywords: dict[str, Any] = {"pretrained": pretrained}
    if file:
        keywords = {"weights": file[1], "weights_source": file[0]}
    # One-channel data keep their own statistics, whatever the backbone was trained on.
    expects = in_chans == 3 and (file or pretrained)
    return InitialWeights(keywords, pretrained_statistics(backbone) if expects else {})

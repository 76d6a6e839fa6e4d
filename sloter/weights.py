"""Initial weights of a backbone: timm's pretrained ones, those of a file or of a plain classifier, or none."""

import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import huggingface_hub
import timm
from torch import Tensor

from sloter import ModelError
from sloter.model_names import architecture, weights_name
from sloter.original_names import names_model

HUB_TIMEOUT = 8.0  # seconds
REMEDIES = "give --pre_trained false to train from scratch, or --backbone_weights FILE to load a local file"


def pretrained_source(name: str) -> dict[str, Any]:
    """Find the pretrained weights of a model, in the local cache or on the hub.

    The hub is queried once, with a short time-out: its own client would retry for most of a minute.

    Returns:
        Keywords for ``timm.create_model``.

    Raises:
        ModelError: timm has no weights for this model, or they are not cached and the hub does not provide them.
    """
    config = timm.get_pretrained_cfg(weights_name(name))
    if config is None or not (config.hf_hub_id or config.url):
        raise ModelError(f"timm has no pretrained weights for '{name}': {REMEDIES}")
    files = ("model.safetensors", "pytorch_model.bin")
    for file in files if config.hf_hub_id else ():
        cached = huggingface_hub.try_to_load_from_cache(str(config.hf_hub_id), file)
        if isinstance(cached, str):
            return {"pretrained_cfg_overlay": {"file": cached}}
    addresses = [str(config.url)]
    if config.hf_hub_id:
        addresses = [huggingface_hub.hf_hub_url(str(config.hf_hub_id), file) for file in files]
    fault = "HF_HUB_OFFLINE is set" if huggingface_hub.constants.HF_HUB_OFFLINE else _download_fault(addresses)
    if fault is not None:
        raise ModelError(
            f"the pretrained weights of '{name}' ({weights_name(name)}) cannot be downloaded ({fault}): {REMEDIES}"
        )
    return {}


def pretrained_statistics(name: str) -> dict[str, tuple[float, ...]]:
    """``mean`` and ``std`` of each channel that timm's weights of a model expect; {} for an unknown model.

    Args:
        name: model name in timm; a tag after a dot must be one that :func:`sloter.backbone.check_name` accepts.
    """
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return {} if config is None else {"mean": tuple(config.mean), "std": tuple(config.std)}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """URL handler that does not follow redirects: the target of the hub's redirect may refuse HEAD requests."""

    def redirect_request(self, *args: Any) -> None:
        """Follow no redirect."""
        return


def _request_fault(address: str) -> str | None:
    """Reason why a HEAD request to a URL fails; None if it succeeds."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.build_opener(_NoRedirect).open(request, timeout=HUB_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        return None if error.code < 400 else f"{address} answers {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer from {address}: {getattr(error, 'reason', error)}"
    return None


def _download_fault(addresses: list[str]) -> str | None:
    """Reason why HEAD requests to all of these URLs fail; None as soon as one succeeds.

    The requests run in a thread, since DNS look-ups ignore time-outs.
    """
    faults: list[str | None] = []

    def ask() -> None:
        for address in addresses:
            faults.append(_request_fault(address))
            if faults[-1] is None:
                return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT)
    if None in faults:
        return None
    return faults[0] if faults else f"no answer from {addresses[0]} in {HUB_TIMEOUT:.0f} seconds"


@dataclass(frozen=True)
class InitialWeights:
    """Initial weights of a backbone, with the statistics and stem that they expect.

    Attributes:
        keywords: keywords of :func:`sloter.slot_model.build_model` that load the weights.
        statistics: ``mean`` and ``std`` for normalising the pictures; {} for those of the dataset.
        stem: stem of the backbone, see :func:`sloter.backbone.create_backbone`.
        backbone: model name in timm of the architecture.
        source: where the weights come from, as ``resnet18.tv_in1k`` or the name of a file; "" for random ones.
    """

    keywords: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    stem: str = "timm"
    backbone: str = ""
    source: str = ""


def initial_weights(
    backbone: str, *, in_chans: int, pretrained: bool, file: tuple[str, dict[str, Tensor]] | None = None,
    classifier: dict[str, Any] | None = None,
) -> InitialWeights:  # fmt: skip
    """Choose the initial weights: those of a plain classifier, of a file, timm's, or none.

    Args:
        backbone: model name in timm.
        in_chans: channels of the pictures.
        pretrained: take timm's weights.
        file: name and state dict of a file to take instead.
        classifier: checkpoint of a plain classifier to take instead.
    """
    if classifier:
        state = {k.removeprefix("backbone."): v for k, v in classifier["model"].items() if k.startswith("backbone.")}
        statistics = {key: classifier["data_config"][key] for key in ("mean", "std")}
        from_checkpoint = {"weights": state, "weights_source": "the checkpoint of --use_pre"}
        config, source = classifier["model_config"], "the plain classifier of --use_pre"
        return InitialWeights(from_checkpoint, statistics, config.get("stem", "timm"), config["backbone"], source)
    keywords: dict[str, Any] = {"pretrained": pretrained}
    if file:
        keywords = {"weights": file[1], "weights_source": file[0]}
    # One-channel data keep their own statistics, whatever the backbone was trained on.
    has_statistics, download = in_chans == 3 and (file or pretrained), pretrained and not file
    full = weights_name(backbone) if download else backbone
    statistics = pretrained_statistics(full) if has_statistics else {}
    source = file[0] if file else full if download else ""
    return InitialWeights(keywords, statistics, "timm", architecture(backbone, pretrained=download), source)


def continued_weights(name: str, state: Mapping[str, Any]) -> InitialWeights:
    """Origin of the initial weights of a continued run; its checkpoint brings the weights themselves.

    Args:
        name: model name in timm, as for :func:`initial_weights`.
        state: the checkpoint.
    """
    config = state["model_config"]
    backbone = config["backbone"] if names_model(name, config["backbone"]) else name
    return InitialWeights(stem=config["stem"], backbone=backbone, source=state.get("initial_weights", ""))

"""Meaning of a model name: the architecture to build, and the pretrained weights to load."""

import timm
from timm.models import _registry

from sloter.original_names import ORIGINAL_ARCHITECTURES, ORIGINAL_TAGS

# timm maps these old names to an architecture of another width, whose weights they never had.
WRONGLY_MAPPED = ("ig_resnext101_32x16d", "ig_resnext101_32x32d", "ig_resnext101_32x48d")


def weights_name(name: str) -> str:
    """Model and tag, as ``resnet18.tv_in1k``, of the pretrained weights that a model name stands for.

    A name of the published code stands for the weights that it had there, any other for timm's default; a name with a
    tag stands for itself. If timm has no weights for the model, the name is returned as it is.

    Args:
        name: model name in timm, now or in 2020.
    """
    if "." in name:
        return name
    deprecated = getattr(_registry, "_deprecated_models", {})
    if name in deprecated and name not in WRONGLY_MAPPED:
        name = deprecated[name] or name
    name = ORIGINAL_ARCHITECTURES.get(name, name)
    if name in ORIGINAL_TAGS:
        return f"{name}.{ORIGINAL_TAGS[name]}"
    config = timm.get_pretrained_cfg(name)
    if "." in name or config is None or not (config.hf_hub_id or config.url) or not config.tag:
        return name
    return f"{name}.{config.tag}"


def known_model(name: str) -> bool:
    """Whether timm can build the model of this name, with or without a tag."""
    return timm.is_model(name) or timm.is_model(ORIGINAL_ARCHITECTURES.get(name, name))


def architecture(name: str, *, pretrained: bool) -> str:
    """Model name in timm of the architecture to build.

    Args:
        name: as for :func:`weights_name`.
        pretrained: whether it gets the pretrained weights that the name stands for. Without them a name that timm has
            given to another architecture means that one, unless timm has none.
    """
    if name in ORIGINAL_ARCHITECTURES and (pretrained or not timm.is_model(name)):
        return ORIGINAL_ARCHITECTURES[name]
    return name

"""Translation of checkpoints of the published code and of earlier versions of this project."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MNIST = {"mean": (0.1307,), "std": (0.3081,)}


def from_published(content: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a checkpoint of the published code: its Namespace to configurations, its parameter names to ours.

    Raises:
        KeyError, ValueError, AttributeError, TypeError: an entry is missing or has an unexpected form.
    """
    args = vars(content["args"])
    state = published_state_dict(content["model"])
    use_slot = "slot.initial_slots" in state
    num_classes = int(args["num_classes"])
    one_channel_stem = "backbone.conv1.weight" in state and state["backbone.conv1.weight"].shape == (64, 1, 3, 3)
    # Such names mean another architecture in today's timm, where this one has a prefix.
    is_legacy = "backbone.layer0.conv1.weight" in state and not args["model"].startswith("legacy_")
    size = int(args.get("img_size", 260))
    model_config = {
        "backbone": f"legacy_{args['model']}" if is_legacy else args["model"],
        "num_classes": num_classes,
        "use_slot": use_slot,
        "in_chans": 1 if one_channel_stem else 3,
        "img_size": (size, size),
        "stem": "3x3" if one_channel_stem else "timm",
    }
    if use_slot:
        state = {key: value for key, value in state.items() if not key.startswith("backbone.fc.")}
        k, d = state["slot.initial_slots"].shape
        model_config |= {
            "hidden_dim": d,
            "slots_per_class": k // num_classes,
            "to_k_layers": sum(key.startswith("slot.to_k.") and key.endswith(".weight") for key in state),
            "loss_status": int(args.get("loss_status", 1)),
            "attention": "paper",
        }
    statistics = MNIST if one_channel_stem else IMAGENET
    data_config = {
        "dataset": args["dataset"], "img_size": (size, size), "in_chans": model_config["in_chans"], **statistics
    }  # fmt: skip
    train_config = {"lambda_value": float(args.get("lambda_value", 1.0)), "power": float(args.get("power", 2))}
    return {
        "model_config": model_config,
        "data_config": data_config,
        "train_config": train_config,
        "model": state,
        "epoch": int(content.get("epoch", 0)),
    }


def published_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the published code under our names: no ``to_q``, a GRU cell, slots without a leading axis."""
    renamed = {}
    for key, value in state.items():
        key = key.removeprefix("module.")
        if key.startswith("slot.to_q."):
            continue
        if key == "slot.initial_slots" and value.ndim == 3:
            value = value.squeeze(0)  # (k, d)
        if key.startswith("slot.gru."):
            key = key.removesuffix("_l0")
        renamed[key] = value
    return renamed


# Old names in checkpoints of this project, and today's.
RENAMED_OPTIONS = {"worth": "value_weighting", "tau": "logit_scale"}
RENAMED_PARAMETERS = {
    "slot.worth.log_gamma": "slot.value_weighting.log_gamma",
    "slot.scores.log_tau": "slot.normaliser.log_scale",
    "slot.scores.bias": "slot.normaliser.bias",
}


def renamed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options, or flags, of any version of this project under their present names."""
    renamed = {RENAMED_OPTIONS.get(name, name): value for name, value in options.items()}
    if "floor" in renamed:
        renamed["reference"] = "min" if renamed.pop("floor") else "none"
    return renamed


def upgrade(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Model configuration and state dict of any version of this project, under today's names.

    Missing options stay missing: their defaults are the published form.
    """
    options = renamed_options(config)
    return options, {RENAMED_PARAMETERS.get(name, name): value for name, value in state.items()}

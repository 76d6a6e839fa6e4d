"""Construction of the model that a training run starts from."""

from typing import Any

import torch

from sloter.slot_model import PlainClassifier, SlotModel, build_model
from sloter.weights import InitialWeights
from tools import ToolError, distributed


def build_initial(
    config: dict[str, Any], start: InitialWeights, *, freeze_stages: int, seed: int, device: torch.device,
    memory_format: torch.memory_format, grad_checkpointing: bool = False, sync_bn: bool = False,
) -> SlotModel | PlainClassifier:  # fmt: skip
    """Build the model of a run on its device.

    Args:
        config: ``model_config`` of the checkpoint.
        start: initial weights of the backbone.
        freeze_stages: see :meth:`sloter.backbone.FeatureModel.freeze`.
        seed: seed of the random initial weights.
        device: device of the model.
        memory_format: memory format of its weights.
        grad_checkpointing: recompute the backbone's activations in the backward pass, to save memory.
        sync_bn: synchronise batch norm over all processes.

    Raises:
        ModelError: see :func:`sloter.slot_model.build_model`.
        ToolError: ``sync_bn`` on a device other than a GPU.
    """
    if sync_bn and device.type != "cuda":
        raise ToolError(f"--sync_bn true: PyTorch synchronises batch norm on GPUs only, not on {device.type}")
    torch.manual_seed(seed % 2**63)
    model = build_model(**config, **start.keywords, freeze_stages=freeze_stages)
    if grad_checkpointing:
        model.checkpoint_gradients()
    model.to(device).to(memory_format=memory_format)
    if sync_bn and distributed.world_size() > 1:
        model.synchronise_batch_norm()
    return model

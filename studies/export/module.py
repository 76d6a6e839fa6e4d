"""Module that is exported: a trained model with the maps of all classes and, if requested, the normalisation."""

import torch
from torch import Tensor, nn

from dataset.loaders import normalise
from engine.explain.slots import attention_maps, evidence_maps
from engine.trained_model import TrainedModel
from sloter.slot_model import SlotOutput


def named_outputs(output: SlotOutput) -> dict[str, Tensor]:
    """Outputs by name, see :meth:`ExportedModel.forward`; of a plain classifier the logits alone."""
    if output.attn is None:
        return {"logits": output.logits}
    return {"logits": output.logits, "attention": attention_maps(output), "evidence": evidence_maps(output)}


class ExportedModel(nn.Module):
    """Trained model whose outputs are plain tensors under their names.

    Args:
        trained: the model, on the CPU; its parameters are frozen.
        uint8: take pixels, and normalise them.
    """

    def __init__(self, trained: TrainedModel, *, uint8: bool) -> None:
        super().__init__()
        self.uint8 = uint8
        self.model = trained.model
        for name, values in trained.statistics.items():
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))  # (ch, 1, 1)
        self.mean: Tensor
        self.std: Tensor
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Classify pictures and explain their logits.

        Args:
            images: (b, ch, H, W) float32, normalised; with ``uint8`` pixels (b, H, W, ch) uint8.

        Returns:
            ``logits`` (b, c); of a slot model also ``attention`` (b, c, h, w), summed over the slots of a class, and
            ``evidence`` (b, c, h, w), whose sum over the grid is the logit, for a negative model minus the logit.
        """
        if self.uint8:
            images = normalise(images.permute(0, 3, 1, 2).contiguous(), self.mean, self.std)  # (b, ch, H, W)
        return named_outputs(self.model(images))

    def batch(self, pixels: Tensor) -> Tensor:
        """Input of the module for pixels (b, ch, H, W) uint8."""
        if self.uint8:
            return pixels.permute(0, 2, 3, 1).contiguous()  # (b, H, W, ch)
        return normalise(pixels, self.mean, self.std)  # (b, ch, H, W)

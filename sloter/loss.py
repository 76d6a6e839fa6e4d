"""The SCOUTER loss (section 3.3 of the paper): cross entropy plus a price on attention."""

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from sloter.slot_model import SlotOutput


def balanced_weights(counts: Tensor) -> Tensor:
    """Class weights that make classes count alike: inverse to their (c) numbers of pictures, 1 on average over these.

    A class without pictures gets 1; no picture will ask for it.
    """
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp_min(1))
    return torch.where(present, weights, torch.ones_like(weights))


class ScouterLoss(nn.Module):
    """``ce + lambda_value * attn_mean ** power``; a model without slots pays the cross entropy alone.

    ``attn_mean`` is the mean of the attention over pictures, slots and places. Because of the power the loss of
    a batch is not the mean of its parts, so in training mode the mean is taken over all processes: a global
    batch has one loss however it is split.

    Args:
        lambda_value: price of attention.
        power: of the mean attention.
        label_smoothing: share of each label that is spread over all classes, in training only.
        temperature: the logits are divided by it, in training only. Label smoothing holds probabilities back on new
            pictures more than on those that were trained on; above 1 it makes logits that much larger.
        class_weights: (c), the weight of a picture of each class in the cross entropy, with mean 1 over the training
            pictures; None weighs all alike. The mean is over pictures, not over weights, for the same reason.
    """

    def __init__(
        self,
        *,
        lambda_value: float,
        power: float,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.lambda_value, self.power = lambda_value, power
        self.label_smoothing, self.temperature = label_smoothing, temperature
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights)

    def forward(self, output: SlotOutput, target: Tensor) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            output: logits (b, c) and, of a slot model, attn (b, c, s, h, w).
            target: (b), class indices, or (b, c), the share of each class.

        Returns:
            Scalars ``loss``, ``ce``, ``attn_mean`` and ``area_loss`` (``attn_mean ** power``).
        """
        # Summed and divided by b, not by the weights: see class_weights.
        smoothing, temperature = (self.label_smoothing, self.temperature) if self.training else (0.0, 1.0)
        ce = F.cross_entropy(
            output.logits.float() / temperature, target, weight=self.class_weights, reduction="none",
            label_smoothing=smoothing,
        ).mean()  # fmt: skip
        attn_mean = ce.new_zeros(()) if output.attn is None else output.attn.mean()
        return self.combine(ce, self._over_processes(attn_mean))

    def combine(self, ce: Tensor, attn_mean: Tensor) -> dict[str, Tensor]:
        """The loss of means that are already known, for instance those over a whole split."""
        area_loss = attn_mean**self.power
        return {
            "loss": ce + self.lambda_value * area_loss,
            "ce": ce,
            "attn_mean": attn_mean,
            "area_loss": area_loss,
        }

    def _over_processes(self, attn_mean: Tensor) -> Tensor:
        if not (self.training and distributed.is_available() and distributed.is_initialized()):
            return attn_mean
        everywhere = attn_mean.detach().clone()
        distributed.all_reduce(everywhere)
        everywhere /= distributed.get_world_size()
        # Value: the global mean. Gradient: that of the local mean, which averaging gradients over the processes
        # turns into the gradient of the global loss.
        return attn_mean + (everywhere - attn_mean.detach())

"""SCOUTER as published (Li et al., ICCV 2021, section 3), equation by equation: read this file first.

Plain and slow on purpose: the tests compare :mod:`sloter.slot_attention` with it, and parameters have the same names
in both. The query projection of the published code is left out, since its result is never used.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def inputs(feature_map: Tensor, conv1x1: nn.Module, position: Tensor) -> tuple[Tensor, Tensor]:
    """Compute X_pe and X, (b, n, d) each, from features (b, f, h, w) and position encoding (1, d, h, w)."""
    values = torch.relu(conv1x1(feature_map))  # X, (b, d, h, w)
    keys_in = values + position  # X_pe, (b, d, h, w)
    return keys_in.flatten(2).transpose(1, 2), values.flatten(2).transpose(1, 2)  # (b, n, d) each


class PaperSlotAttention(nn.Module):
    """xSlot attention module.

    Args:
        num_classes: c.
        slots_per_class: s; there are k = c * s slots, ordered class by class.
        dim: d, width of keys, values and slots.
        to_k_layers: number of linear layers that compute the keys.
        iters: iterations of slot attention.
        sign: e, +1 for a positive model, -1 for a negative one.
    """

    def __init__(
        self, num_classes: int, slots_per_class: int, dim: int, *, to_k_layers: int = 1, iters: int = 3, sign: int = 1
    ) -> None:
        super().__init__()
        self.num_classes, self.iters, self.sign = num_classes, iters, sign
        mean, deviation = torch.randn(1, dim), torch.randn(1, dim).abs()
        self.initial_slots = nn.Parameter(mean + deviation * torch.randn(num_classes * slots_per_class, dim))  # (k, d)
        layers = [module for _ in range(to_k_layers) for module in (nn.ReLU(), nn.Linear(dim, dim))]
        self.to_k = nn.Sequential(*layers[1:])
        self.gru = nn.GRUCell(dim, dim)

    def forward(self, keys_in: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits (b, c) and attention (b, k, n) from X_pe and X, (b, n, d) each."""
        b, _, d = values.shape
        keys = self.to_k(keys_in)  # K, (b, n, d)
        slots = self.initial_slots.expand(b, -1, -1)  # S, (b, k, d)
        for _ in range(self.iters):
            products = slots @ keys.transpose(1, 2) / d**0.5  # Z = S K^T / sqrt(d), (b, k, n)
            scaled = products / products.sum(2, keepdim=True) * products.sum((1, 2), keepdim=True)
            attn = torch.sigmoid(scaled)  # A, (b, k, n)
            updates = attn @ values / d  # U = A X / d, (b, k, d)
            slots = self.gru(updates.flatten(0, 1), slots.flatten(0, 1)).view(b, -1, d)  # (b, k, d)
        per_class = updates.unflatten(1, (self.num_classes, -1))  # (b, c, s, d)
        return self.sign * per_class.sum((2, 3)), attn


def loss(logits: Tensor, attn: Tensor, target: Tensor, *, lambda_value: float, power: float) -> Tensor:
    """Compute the cross entropy plus the attention penalty ``lambda * (mean of A) ** power``."""
    return F.cross_entropy(logits, target) + lambda_value * attn.mean() ** power

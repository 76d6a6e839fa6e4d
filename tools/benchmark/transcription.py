"""What the xSlot module is compared with: the published formula, line by line, as one would first write it down."""

import torch
from torch import Tensor, nn


class Transcription(nn.Module):
    """Section 3 of the paper, without the query projection that the published code has but does not use.

    Args:
        slots: k.
        dim: d.
        to_k_layers: linear layers that make the keys.
        iters: times the slots attend and are updated.
    """

    def __init__(self, slots: int, dim: int, *, to_k_layers: int, iters: int = 3) -> None:
        super().__init__()
        self.iters, self.scale = iters, dim**-0.5
        self.initial_slots = nn.Parameter(torch.randn(1, slots, dim))
        layers: list[nn.Module] = [nn.Linear(dim, dim)]
        for _ in range(to_k_layers - 1):
            layers += [nn.ReLU(), nn.Linear(dim, dim)]
        self.to_k = nn.Sequential(*layers)
        self.gru = nn.GRU(dim, dim)

    def forward(self, keys_in: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(b, n, d) twice, to the evidence of each slot (b, k) and the attention (b, k, n)."""
        b, _, d = values.shape
        slots = self.initial_slots.expand(b, -1, -1)  # (b, k, d)
        keys = self.to_k(keys_in)  # (b, n, d)
        for _ in range(self.iters):
            scores = torch.einsum("bkd,bnd->bkn", slots, keys) * self.scale
            scores = scores / scores.sum(2, keepdim=True) * scores.sum((1, 2), keepdim=True)
            attn = torch.sigmoid(scores)  # (b, k, n)
            updates = torch.einsum("bkn,bnd->bkd", attn, values) / d
            slots, _ = self.gru(updates.reshape(1, -1, d), slots.reshape(1, -1, d))
            slots = slots.reshape(b, -1, d)  # (b, k, d)
        return updates.sum(2), attn

"""The xSlot attention module of SCOUTER (section 3 of the paper): slots attend, attended values sum to a score.

Two ways to turn the scores of slots and keys into attention are offered, ``paper`` and ``qknorm``: see
:data:`SCORES`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PaperScores(nn.Module):
    """The published form: ``Z / sum_n Z * sum_k sum_n Z`` with ``Z = Q K^T / sqrt(d)``.

    Its arguments grow with the number of slots and its denominator has no fixed sign, which is why training is
    fragile with many classes; it is kept because it is the paper's model.
    """

    def __init__(self, dim: int, num_positions: int | None) -> None:
        super().__init__()
        self.scale = dim**-0.5

    def forward(self, slots: Tensor, keys: Tensor) -> Tensor:
        """(b, k, d) slots and (b, n, d) keys to (b, k, n) arguments of the sigmoid."""
        scores = slots @ keys.transpose(1, 2) * self.scale  # (b, k, n)
        per_slot = scores.sum(2, keepdim=True)  # (b, k, 1)
        total = per_slot.sum(1, keepdim=True)  # (b, 1, 1)
        # A sum of nearly nothing would divide by zero: its size is kept above rounding error, its sign stays.
        eps = torch.finfo(scores.dtype).eps
        tiny = per_slot.abs() < eps
        per_slot = torch.where(tiny, torch.copysign(torch.full_like(per_slot, eps), per_slot), per_slot)
        return scores / per_slot * total  # (b, k, n)


class QKNormScores(nn.Module):
    """Cosine of slot and key, times a learned temperature, plus a learned bias.

    Query-key normalisation (Henry et al. 2020) bounds the argument whatever the number of slots; the bias of
    -log n keeps the summed attention of a slot near one at the start, as Ramapuram et al. (2024) advise for
    sigmoid attention.
    """

    def __init__(self, dim: int, num_positions: int | None) -> None:
        super().__init__()
        if num_positions is None:
            raise ValueError("attention 'qknorm' needs num_positions, the number of places of the grid (h * w)")
        self.log_tau = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-math.log(num_positions)))

    def forward(self, slots: Tensor, keys: Tensor) -> Tensor:
        """(b, k, d) slots and (b, n, d) keys to (b, k, n) arguments of the sigmoid."""
        cosine = F.normalize(slots, dim=2) @ F.normalize(keys, dim=2).transpose(1, 2)  # (b, k, n)
        return self.log_tau.exp() * cosine + self.bias  # (b, k, n)


SCORES: dict[str, Callable[[int, int | None], nn.Module]] = {"paper": PaperScores, "qknorm": QKNormScores}


class SlotAttention(nn.Module):
    """Slots of each class attend to the places of a feature grid; what they attend to adds up to its evidence.

    Args:
        num_classes: c.
        slots_per_class: s.
        dim: d, the width of keys, values and slots.
        iters: how often the slots attend; between two times a GRU updates them. With 1 there is no GRU.
        to_k_layers: linear layers, with ReLU between them, that make keys of their input.
        attention: a key of :data:`SCORES`.
        num_positions: n, the number of places; ``qknorm`` starts its bias from it.

    Raises:
        ValueError: a size below 1, or an unknown ``attention``.
    """

    def __init__(
        self,
        num_classes: int,
        slots_per_class: int,
        dim: int,
        *,
        iters: int = 3,
        to_k_layers: int = 1,
        attention: str = "paper",
        num_positions: int | None = None,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "slots_per_class": slots_per_class, "dim": dim}
        for name, size in {**sizes, "iters": iters, "to_k_layers": to_k_layers}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if attention not in SCORES:
            raise ValueError(f"unknown attention {attention!r}: choose one of {', '.join(SCORES)}")
        self.num_classes, self.slots_per_class, self.iters = num_classes, slots_per_class, iters
        mean, deviation = torch.randn(1, dim), torch.randn(1, dim).abs()
        self.initial_slots = nn.Parameter(mean + deviation * torch.randn(num_classes * slots_per_class, dim))  # (k, d)
        layers: list[nn.Module] = [nn.Linear(dim, dim)]
        for _ in range(to_k_layers - 1):
            layers += [nn.ReLU(), nn.Linear(dim, dim)]
        self.to_k = nn.Sequential(*layers)
        self.scores = SCORES[attention](dim, num_positions)
        self.gru = nn.GRUCell(dim, dim) if iters > 1 else None

    def forward(self, keys_in: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attend.

        Runs in single precision also under autocast: the sums over places and slots decide the score, and the
        identity of score and explanation is to hold to float tolerance.

        Args:
            keys_in: (b, n, d), the values with their position encoding.
            values: (b, n, d), not negative.

        Returns:
            evidence: (b, c), not negative; the logits but for their sign.
            attn: (b, c, s, n), each in [0, 1].
            weight: (b, n), what each place is worth, so that
                ``evidence == (attn.sum(2) * weight[:, None]).sum(-1)``.
        """
        with torch.autocast(keys_in.device.type, enabled=False):
            values = values.float()  # (b, n, d)
            keys = self.to_k(keys_in.float())  # (b, n, d)
            b, n, d = keys.shape
            slots = self.initial_slots.expand(b, -1, -1)  # (b, k, d)
            attn = self.scores(slots, keys).sigmoid()  # (b, k, n)
            for _ in range(self.iters - 1):
                slots = self._update(slots, attn @ values / d)  # (b, k, d)
                attn = self.scores(slots, keys).sigmoid()  # (b, k, n)
            # The last update, summed over d, is attn @ weight: neither the full update nor a GRU step is needed.
            weight = values.mean(2)  # (b, n)
            attn = attn.view(b, self.num_classes, self.slots_per_class, n)  # (b, c, s, n)
            evidence = torch.einsum("bcsn,bn->bc", attn, weight)  # (b, c)
        return evidence, attn, weight

    def _update(self, slots: Tensor, updates: Tensor) -> Tensor:
        assert self.gru is not None
        return self.gru(updates.flatten(0, 1), slots.flatten(0, 1)).view_as(updates)  # (b, k, d)

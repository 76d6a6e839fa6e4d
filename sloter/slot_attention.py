"""The xSlot attention module of SCOUTER (section 3 of the paper): slots attend, attended values sum to a score.

Ways to turn the scores of slots and keys into attention are in :data:`SCORES`, what a place is worth in :data:`WORTHS`.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sloter.gates import gru_gates


class Scores(Protocol):
    """How slots and keys make attention: ``sigmoid(shifted(queries @ keys^T))``."""

    def keys(self, keys: Tensor) -> Tensor:
        """(b, n, d) keys, once for all iterations."""
        ...

    def queries(self, slots: Tensor, key_sum: Tensor) -> Tensor:
        """Slots (k, d) or (b, k, d) and the sum of the keys (b, 1, d) to (b, k, d) or (k, d)."""
        ...

    def shifted(self, products: Tensor) -> Tensor:
        """Products (b, k, n) of queries and keys to arguments of the sigmoid."""
        ...


class PaperScores(nn.Module):
    """The published form: ``Z / sum_n Z * sum_k sum_n Z`` with ``Z = Q K^T / sqrt(d)``.

    Its arguments grow with the number of slots and its denominator has no fixed sign, which is why training is
    fragile with many classes; it is kept because it is the paper's model. The sum over places of a slot's scores is
    the score of the summed keys, so that the whole normaliser is a factor of the slot.
    """

    def __init__(self, dim: int, num_positions: int | None, tau: float) -> None:
        super().__init__()
        self.scale = dim**-0.5

    def keys(self, keys: Tensor) -> Tensor:
        return keys * self.scale

    def queries(self, slots: Tensor, key_sum: Tensor) -> Tensor:
        per_slot = slots.float() @ key_sum.transpose(1, 2)  # (b, k, 1)
        total = per_slot.sum(1, keepdim=True)  # (b, 1, 1)
        # A sum of nearly nothing would divide by zero: its size is kept above rounding error, its sign stays.
        per_slot = per_slot.abs().clamp_min(torch.finfo(per_slot.dtype).eps).copysign(per_slot)
        return slots * (total / per_slot)  # (b, k, d)

    def shifted(self, products: Tensor) -> Tensor:
        return products


class QKNormScores(nn.Module):
    """Cosine of slot and key, times a learned temperature, plus a learned bias.

    Query-key normalisation (Henry et al. 2020) bounds the argument whatever the number of slots; the bias of
    -log n keeps the summed attention of a slot near one at the start, as Ramapuram et al. (2024) advise for
    sigmoid attention.
    """

    def __init__(self, dim: int, num_positions: int | None, tau: float) -> None:
        super().__init__()
        if num_positions is None:
            raise ValueError("this form of attention needs num_positions, the number of places of the grid (h * w)")
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)))
        self.bias = nn.Parameter(torch.tensor(-math.log(num_positions)))

    def keys(self, keys: Tensor) -> Tensor:
        return F.normalize(keys, dim=2) * self.log_tau.exp()

    def queries(self, slots: Tensor, key_sum: Tensor) -> Tensor:
        return F.normalize(slots.float(), dim=-1)

    def shifted(self, products: Tensor) -> Tensor:
        return products + self.bias.to(products.dtype)


class MeanWorth(nn.Module):
    """The published form: a place is worth the mean of its values, so that ``attn @ weight`` is the summed update."""

    def __init__(self, start: float) -> None:
        super().__init__()

    def forward(self, values: Tensor) -> Tensor:
        """(b, n, d) to (b, n)."""
        return values.mean(2)


class EqualWorth(nn.Module):
    """Every place is worth the same, a learned positive number: the attention map itself, scaled, is the evidence."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_gamma = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self, values: Tensor) -> Tensor:
        """(b, n, d) to (b, n)."""
        return self.log_gamma.exp().expand(values.shape[:2])


WORTHS: dict[str, Callable[[float], nn.Module]] = {"mean": MeanWorth, "equal": EqualWorth}
SCORES: dict[str, Callable[[int, int | None, float], Scores]] = {"paper": PaperScores, "qknorm": QKNormScores}


class SlotAttention(nn.Module):
    """Slots of each class attend to the places of a feature grid; what they attend to adds up to its evidence.

    Args:
        num_classes: c.
        slots_per_class: s.
        dim: d, the width of keys, values and slots.
        iters: how often the slots attend; between two times a GRU updates them. With 1 there is no GRU.
        to_k_layers: linear layers, with ReLU between them, that make keys of their input; with 0 it is the keys.
        attention: a key of :data:`SCORES`.
        worth: a key of :data:`WORTHS`, what a place that is attended to adds to the evidence.
        worth_start: of a learned worth.
        num_positions: n, the number of places; ``qknorm`` starts its bias from it.
        tau: of ``qknorm``, where its temperature starts.
        floor: whether a slot's attention to a place counts only above the least that any slot pays to it. What all
            slots see alike tells no class from another: with one look the differences of the evidence, and so its
            softmax, stay as they are, and the maps are left with what sets their class apart.

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
        worth: str = "mean",
        worth_start: float = 4.0,
        num_positions: int | None = None,
        tau: float = 10.0,
        floor: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "slots_per_class": slots_per_class, "dim": dim}
        for name, size in {**sizes, "iters": iters}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if attention not in SCORES:
            raise ValueError(f"unknown attention {attention!r}: choose one of {', '.join(SCORES)}")
        if worth not in WORTHS:
            raise ValueError(f"unknown worth {worth!r}: choose one of {', '.join(WORTHS)}")
        self.num_classes, self.slots_per_class, self.iters = num_classes, slots_per_class, iters
        self.floor = floor
        mean, deviation = torch.randn(1, dim), torch.randn(1, dim).abs()
        self.initial_slots = nn.Parameter(mean + deviation * torch.randn(num_classes * slots_per_class, dim))  # (k, d)
        layers: list[nn.Module] = []
        for number in range(to_k_layers):
            layers += [nn.ReLU()] * (number > 0) + [nn.Linear(dim, dim)]
        self.to_k = nn.Sequential(*layers)
        self.worth = WORTHS[worth](worth_start)
        self.scores: Scores = SCORES[attention](dim, num_positions, tau)
        self.gru = nn.GRUCell(dim, dim) if iters > 1 else None

    def forward(
        self, keys_in: Tensor, values: Tensor, salience: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Attend.

        Under autocast to bfloat16 the slots are updated in it; the last look at the places, which makes score and
        explanation, is always in single precision, so that their identity holds to its tolerance.

        Args:
            keys_in: (b, n, d), the values with their position encoding.
            values: (b, n, d), not negative.
            salience: (b, n) in [0, 1], the most that each place can be attended to; None for 1 everywhere.

        Returns:
            evidence: (b, c), not negative; the logits but for their sign.
            attn: (b, c, s, n), each in [0, 1].
            weight: (b, n), what each place is worth, so that
                ``evidence == (attn.sum(2) * weight[:, None]).sum(-1)``.
        """
        device = keys_in.device.type
        # float16 would overflow where the published normaliser does not.
        low = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
        with torch.autocast(device, enabled=False):
            values = values.float()  # (b, n, d)
            keys = self.scores.keys(self.to_k(keys_in.float()))  # (b, n, d)
            key_sum = keys.sum(1, keepdim=True)  # (b, 1, d)
            slots = self._updated(keys, key_sum, values, salience, torch.bfloat16 if low else torch.float32)
            attn = self._attend(slots, keys, key_sum, salience)  # (b, k, n)
            # With worth "mean" this is the last update summed over d: neither that nor a GRU step is needed.
            weight = self.worth(values)  # (b, n)
            attn = attn.unflatten(1, (self.num_classes, -1))  # (b, c, s, n)
            # Not a matrix product, whose factors a GPU may round (TensorFloat-32): score and explanation are to be one.
            evidence = (attn.sum(2) * weight[:, None]).sum(2)  # (b, c)
        return evidence, attn, weight

    def _attend(self, slots: Tensor, keys: Tensor, key_sum: Tensor, salience: Tensor | None) -> Tensor:
        """Attention (b, k, n) of slots (k, d) or (b, k, d), in the precision of the keys."""
        queries = self.scores.queries(slots, key_sum).to(keys.dtype)
        queries = queries.expand(len(keys), -1, -1)  # (b, k, d)
        arguments = torch.bmm(queries, keys.transpose(1, 2))  # (b, k, n)
        attn = self.scores.shifted(arguments).sigmoid_()  # (b, k, n)
        if self.floor:
            attn = attn - attn.amin(1, keepdim=True)  # (b, k, n)
        return attn if salience is None else attn * salience[:, None].to(attn.dtype)

    def _updated(
        self, keys: Tensor, key_sum: Tensor, values: Tensor, salience: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """The slots (b, k, d) before the last look, or (k, d) if there is one look only."""
        slots: Tensor = (
            self.initial_slots
        )  # (k, d), those of all pictures: nothing is done b times that can be done once
        if self.gru is None:
            return slots
        cell = [parameter.to(dtype) for parameter in (self.gru.weight_ih / values.shape[2], self.gru.bias_ih)]
        recurrent = [parameter.to(dtype) for parameter in (self.gru.weight_hh, self.gru.bias_hh)]
        keys, values, slots = keys.to(dtype), values.to(dtype), slots.to(dtype)
        for _ in range(self.iters - 1):
            attn = self._attend(slots, keys, key_sum, salience)  # (b, k, n)
            updates = torch.bmm(attn, values)  # (b, k, d), d times U: the division is in the weight
            slots = gru_gates(F.linear(updates, *cell), F.linear(slots, *recurrent), slots)  # (b, k, d)
        return slots.float()

"""xSlot attention (section 3 of the paper) and its variants: the slots of each class attend to places of a grid.

This is the fast form of the equations in :mod:`sloter.paper`. Normalisations of slot-key products are in
:data:`NORMALISERS`, the weights of the places in a logit in :data:`VALUE_WEIGHTINGS`.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sloter.config import SlotConfig, slot_config
from sloter.gru import gru_gates
from sloter.reference import upper_reference

# Initial value of the learned value weighting, by loss_status: the logits of a negative model start nearly equal, so
# that a larger factor is needed to distinguish classes.
INITIAL_VALUE_WEIGHT = {1: 128.0, -1: 256.0}


def over_slots(attn: Tensor) -> Tensor:
    """Sum attention (b, c, s, ...) over the slots of each class to (b, c, ...); with one slot this copies nothing."""
    return attn.squeeze(2) if attn.shape[2] == 1 else attn.sum(2)


class Normaliser(Protocol):
    """Normalisation that turns slots and keys into attention, ``sigmoid(shift(queries @ keys^T))``."""

    def keys(self, keys: Tensor) -> Tensor:
        """Normalise the keys (b, n, d), once for all iterations."""
        ...

    def queries(self, slots: Tensor, key_sum: Tensor) -> Tensor:
        """Normalise slots (k, d) or (b, k, d), given the summed normalised keys (b, 1, d), to (b, k, d) or (k, d)."""
        ...

    def shift(self, products: Tensor) -> Tensor:
        """Turn products (b, k, n) of queries and keys into arguments of the sigmoid."""
        ...


class PaperNormaliser(nn.Module):
    """Published normalisation: ``Z / sum_n Z * sum_k sum_n Z`` with ``Z = S K^T / sqrt(d)``.

    Its arguments grow with the number of slots and its denominator has no fixed sign, which makes training fragile with
    many classes. Since ``sum_n Z`` of a slot is its product with the summed keys, the whole normalisation is one factor
    per slot.
    """

    def __init__(self, dim: int, num_positions: int | None, config: SlotConfig) -> None:
        super().__init__()
        self.scale = dim**-0.5

    def keys(self, keys: Tensor) -> Tensor:
        """Divide the keys by sqrt(d)."""
        return keys * self.scale

    def queries(self, slots: Tensor, key_sum: Tensor) -> Tensor:
        """Multiply each slot by its factor ``sum_k sum_n Z / sum_n Z``."""
        per_slot = slots.float() @ key_sum.transpose(1, 2)  # (b, k, 1)
        total = per_slot.sum(1, keepdim=True)  # (b, 1, 1)
        # Avoid division by zero: keep the sign, and the magnitude above rounding error.
        per_slot = per_slot.abs().clamp_min(torch.finfo(per_slot.dtype).eps).copysign(per_slot)
        return slots * (total / per_slot)  # (b, k, d)

    def shift(self, products: Tensor) -> Tensor:
        """Return the products unchanged."""
        return products


class QKNormaliser(nn.Module):
    """Cosine of slot and key, times a learned scale, plus a learned bias.

    Query-key normalisation (Henry et al. 2020) bounds the arguments whatever the number of slots. The bias starts at
    -log n, so that the summed attention of a slot starts near one, as Ramapuram et al. (2024) advise.
    """

    def __init__(self, dim: int, num_positions: int | None, config: SlotConfig) -> None:
        super().__init__()
        if num_positions is None:
            raise ValueError("attention 'qknorm' needs num_positions, the number of places of the grid (h * w)")
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.logit_scale)))
        self.bias = nn.Parameter(torch.tensor(-math.log(num_positions)))

    def keys(self, keys: Tensor) -> Tensor:
        """Normalise the keys along d and multiply them by the learned scale."""
        return F.normalize(keys, dim=2) * self.log_scale.exp()

    def queries(self, slots: Tensor, key_sum: Tensor) -> Tensor:
        """Normalise the slots along d."""
        slots = slots.float()
        # As F.normalize, with half the work in the backward pass, which with many classes counts.
        return slots * (1 / slots.norm(dim=-1, keepdim=True).clamp_min(1e-12))

    def shift(self, products: Tensor) -> Tensor:
        """Add the learned bias."""
        return products + self.bias.to(products.dtype)


class MeanValue(nn.Module):
    """Published value weighting: the mean of the value vector, so that ``attn @ weight`` is the summed update."""

    def __init__(self, initial: float) -> None:
        super().__init__()

    def forward(self, values: Tensor) -> Tensor:
        """Average values (b, n, d) over d to weights (b, n)."""
        return values.mean(2)


class EqualValue(nn.Module):
    """Equal value weighting: one learned positive number, so that evidence is proportional to attention."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.log_gamma = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self, values: Tensor) -> Tensor:
        """Repeat the learned weight for values (b, n, d) to weights (b, n)."""
        return self.log_gamma.exp().expand(values.shape[:2])


NORMALISERS: dict[str, Callable[[int, int | None, SlotConfig], Normaliser]] = {
    "paper": PaperNormaliser,
    "qknorm": QKNormaliser,
}
VALUE_WEIGHTINGS: dict[str, Callable[[float], nn.Module]] = {"mean": MeanValue, "equal": EqualValue}


class SlotAttention(nn.Module):
    """Attention of the slots of each class to the places of a feature grid, and the evidence that it sums to.

    Args:
        num_classes: c.
        slots_per_class: s.
        dim: d, width of keys, values and slots.
        num_positions: n, number of places; only ``qknorm`` needs it, for the initial value of its bias.
        options: other fields of :class:`sloter.config.SlotConfig`, for instance ``iters`` or ``attention``. With
            ``iters=1`` there is no GRU; with ``to_k_layers=0`` the input of the keys is used as the keys.

    Raises:
        ValueError: a size below 1, or an option that is unknown or out of bounds.
    """

    def __init__(
        self, num_classes: int, slots_per_class: int, dim: int, *, num_positions: int | None = None, **options: Any
    ) -> None:
        super().__init__()
        for name, size in {"num_classes": num_classes, "slots_per_class": slots_per_class, "dim": dim}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        config = slot_config({"slots_per_class": slots_per_class, **options})
        self.num_classes, self.slots_per_class, self.iters = num_classes, slots_per_class, config.iters
        self.reference, self.reference_quantile = config.reference, config.reference_quantile
        mean, deviation = torch.randn(1, dim), torch.randn(1, dim).abs()
        self.initial_slots = nn.Parameter(mean + deviation * torch.randn(num_classes * slots_per_class, dim))  # (k, d)
        layers: list[nn.Module] = []
        for number in range(config.to_k_layers):
            layers += [nn.ReLU()] * (number > 0) + [nn.Linear(dim, dim)]
        self.to_k = nn.Sequential(*layers)
        self.value_weighting = VALUE_WEIGHTINGS[config.value_weighting](INITIAL_VALUE_WEIGHT[config.loss_status])
        self.normaliser: Normaliser = NORMALISERS[config.attention](dim, num_positions, config)
        self.gru = nn.GRUCell(dim, dim) if config.iters > 1 else None

    def forward(
        self, keys_in: Tensor, values: Tensor, salience: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Compute evidence, attention and value weighting.

        Under autocast to bfloat16 the slots are updated in bfloat16. The last iteration, which gives logits and
        explanation, runs in single precision, except for its products in training if all pictures have the same slots;
        the maps sum to the logits within the tolerance of single precision in any case.

        Args:
            keys_in: (b, n, d), input of the keys: the values with their position encoding.
            values: (b, n, d), not negative.
            salience: (b, n) in [0, 1], factor of the attention at each place; None for 1 everywhere.

        Returns:
            evidence: (b, c), the logits without their sign.
            attn: (b, c, s, n), in [0, 1] without a reference. With one, the sum over the slots of a class is negative
                where the class has less than the reference.
            weight: (b, n), the value weighting of each place, so that
                ``evidence == (attn.sum(2) * weight[:, None]).sum(-1)``.
        """
        device = keys_in.device.type
        # In float16 the arguments of the published normalisation would overflow.
        low = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
        with torch.autocast(device, enabled=False):
            values = values.float()  # (b, n, d)
            keys = self.normaliser.keys(self.to_k(keys_in.float()))  # (b, n, d)
            key_sum = keys.sum(1, keepdim=True)  # (b, 1, d)
            dtype = torch.bfloat16 if low else torch.float32
            slots = self._update_slots(keys, key_sum, values, salience, dtype)
            attn = self._attend(slots, keys, key_sum, salience, dtype)  # (b, k, n)
            attn = self._above_reference(attn.unflatten(1, (self.num_classes, -1)))  # (b, c, s, n)
            # With value weighting "mean" the evidence is the last update summed over d, so that update is not computed.
            weight = self.value_weighting(values)  # (b, n)
            # Not a matrix product, whose factors a GPU may round (TensorFloat-32): maps must sum to the logits.
            evidence = (over_slots(attn) * weight[:, None]).sum(2)  # (b, c)
        return evidence, attn, weight

    def _attend(
        self, slots: Tensor, keys: Tensor, key_sum: Tensor, salience: Tensor | None, low: torch.dtype
    ) -> Tensor:  # fmt: skip
        """Compute the attention (b, k, n) of slots (k, d) or (b, k, d), in the precision of the keys.

        ``low`` is the precision of the products in training where they are most of the work, with the same slots for
        all pictures.
        """
        queries = self.normaliser.queries(slots, key_sum).to(keys.dtype)
        if self.training and queries.ndim == 2:
            # The same for all pictures: one product, whose gradient needs no copy of the slots for each picture.
            products = queries.to(low) @ keys.flatten(0, 1).to(low).T  # (k, b * n)
            arguments = products.to(keys.dtype).unflatten(1, keys.shape[:2]).transpose(0, 1)  # (b, k, n)
        else:
            queries = queries.expand(keys.shape[0], -1, -1)  # (b, k, d)
            arguments = torch.bmm(queries, keys.transpose(1, 2))  # (b, k, n)
        attn = self.normaliser.shift(arguments).sigmoid_()  # (b, k, n)
        return attn if salience is None else attn * salience[:, None].to(attn.dtype)

    def _above_reference(self, attn: Tensor) -> Tensor:
        """Measure attention (b, c, s, n) from the reference of the classes, of which each slot of a class has a share.

        In training nothing is subtracted, since no loss depends on what all classes share.
        """
        if self.training or self.reference == "none":
            return attn
        reference = upper_reference(over_slots(attn), self.reference, self.reference_quantile)  # (b, 1, n)
        return attn - reference[:, :, None] / self.slots_per_class  # (b, c, s, n)

    def _update_slots(
        self, keys: Tensor, key_sum: Tensor, values: Tensor, salience: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Run all iterations except the last: slots (b, k, d), or the initial ones (k, d) if there is only one."""
        # Without a batch axis: the first iteration's products with the slots are the same for all pictures.
        slots: Tensor = self.initial_slots  # (k, d)
        if self.gru is None:
            return slots
        input_layer = [parameter.to(dtype) for parameter in (self.gru.weight_ih / values.shape[2], self.gru.bias_ih)]
        state_layer = [parameter.to(dtype) for parameter in (self.gru.weight_hh, self.gru.bias_hh)]
        keys, values, slots = keys.to(dtype), values.to(dtype), slots.to(dtype)
        for _ in range(self.iters - 1):
            attn = self._attend(slots, keys, key_sum, salience, dtype)  # (b, k, n)
            updates = torch.bmm(attn, values)  # (b, k, d), d times U: input_layer's weight is divided by d instead
            slots = gru_gates(F.linear(updates, *input_layer), F.linear(slots, *state_layer), slots)  # (b, k, d)
        return slots.float()

"""SCOUTER loss (section 3.3 of the paper): cross entropy plus a penalty on the area of attention."""

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from sloter.reference import class_quantile, two_ranks, two_ranks_on_cpu
from sloter.slot_attention import over_slots
from sloter.slot_model import SlotOutput

ABSENT_QUANTILE = 0.9  # over the classes
# NumPy's selection is faster than torch's with many classes, but runs in one thread.
CLASSES_FOR_NUMPY, THREADS_FOR_NUMPY = 25, 4


def balanced_weights(counts: Tensor) -> Tensor:
    """Compute class weights (c) inverse to the numbers of pictures (c), with mean 1 over all pictures.

    A class without pictures gets weight 1, which has no effect.
    """
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp_min(1))
    return torch.where(present, weights, torch.ones_like(weights))


def attention_area(attn: Tensor, *, relative: bool) -> Tensor:
    """Mean attention (b) of each picture over slots and places, which is not negative.

    Args:
        attn: (b, c, s, h, w).
        relative: whether the attention is measured from a reference, which may be above it. Then the mean of what lies
            above the smallest attention of any class is taken, which is the same for every reference.
    """
    _, c, s, h, w = attn.shape
    area = attn.sum((1, 2, 3, 4)) / (c * s * h * w)  # (b); the gradient of a mean would be a tensor as large as attn
    if not relative:
        return area
    return area - over_slots(attn).amin(1).mean((1, 2)) / s


def absent_evidence(output: SlotOutput, target: Tensor, sign: int) -> Tensor:
    """Mean evidence (b) for the classes that a picture does not show: what lies above the .9 quantile over all classes.

    It is in units of the logit, and the same for every reference of the attention.

    Args:
        output: of a slot model.
        target: (b), class indices, or (b, c), the share of each class.
        sign: 1 for a positive model, -1 for a negative one.
    """
    assert output.attn is not None and output.values is not None
    attn = over_slots(output.attn)  # (b, c, h, w)
    if attn.shape[1] == 1:
        return attn.new_zeros(len(attn))  # a single class is compared with none
    attn = attn if sign > 0 else -attn
    # Since no value is negative, the reference of the evidence is that of the attention times the value.
    fast = attn.is_cpu and attn.shape[1] >= CLASSES_FOR_NUMPY and torch.get_num_threads() <= THREADS_FOR_NUMPY
    reference = class_quantile(attn, ABSENT_QUANTILE, two_ranks_on_cpu if fast else two_ranks)  # (b, 1, h, w)
    above = (attn + -reference).relu()  # (b, c, h, w)
    above = (above * output.values[:, None]).sum((2, 3))  # (b, c)
    shown = target if target.ndim == 2 else F.one_hot(target, above.shape[1])
    return (above * (1 - shown.to(above.dtype))).sum(1) / (above.shape[1] - 1)


class ScouterLoss(nn.Module):
    """Cross entropy plus attention penalty: ``ce + lambda_value * attn_mean ** power``.

    ``attn_mean`` is the mean of the attention over pictures, slots and places; it is 0 for a model without slots. See
    :func:`attention_area` for attention that is measured from a reference.
    Because of the power, the loss of a batch is not the mean of the losses of its parts. In training mode the mean
    is therefore taken over all processes: the loss of a global batch does not depend on how it is split.

    Args:
        lambda_value: weight of the attention penalty.
        power: exponent of the mean attention.
        class_weights: (c), weight of each class in the cross entropy, in training only, with mean 1 over the training
            pictures; None for equal weights. The weighted sum is divided by b, not by the sum of the weights, so that
            the split of a global batch does not matter here either.
        label_smoothing: share of each label that is spread over all classes, in training only.
        temperature: divisor of the logits, in training only; the model learns logits larger by this factor. A value
            above 1 makes up for label smoothing, which lowers probabilities more on new pictures than on trained ones.
        absent_weight: weight of :func:`absent_evidence`, in training only.
        relative: whether the model has a reference.
        loss_status: 1 for a positive model, -1 for a negative one.
    """

    def __init__(
        self,
        *,
        lambda_value: float,
        power: float,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        absent_weight: float = 0.0,
        relative: bool = False,
        loss_status: int = 1,
    ) -> None:
        super().__init__()
        self.absent_weight, self.relative, self.sign = absent_weight, relative, loss_status
        self.lambda_value, self.power = lambda_value, power
        self.label_smoothing, self.temperature = label_smoothing, temperature
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights)

    def forward(self, output: SlotOutput, target: Tensor) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            output: logits (b, c) and, for a slot model, attn (b, c, s, h, w).
            target: (b), class indices, or (b, c), the share of each class.

        Returns:
            Scalars ``loss``, ``ce``, ``attn_mean`` and ``area_loss`` (``attn_mean ** power``).
        """
        smoothing, temperature = (self.label_smoothing, self.temperature) if self.training else (0.0, 1.0)
        ce = F.cross_entropy(
            output.logits.float() / temperature, target, weight=self.class_weights if self.training else None,
            reduction="none", label_smoothing=smoothing,
        ).mean()  # fmt: skip
        attn_mean = absent_loss = ce.new_zeros(())
        if output.attn is not None:
            attn_mean = self.attention_area(output.attn).mean()
            if self.training and self.absent_weight:
                absent_loss = absent_evidence(output, target, self.sign).mean()
        return self.combine(ce, self._over_processes(attn_mean), absent_loss)

    def attention_area(self, attn: Tensor) -> Tensor:
        """Mean attention (b) of each picture, from attn (b, c, s, h, w); see :func:`attention_area`."""
        return attention_area(attn, relative=self.relative)

    def combine(self, ce: Tensor, attn_mean: Tensor, absent_loss: Tensor | None = None) -> dict[str, Tensor]:
        """Combine means, such as those of a split, to the same scalars as ``forward``."""
        # Attention above a reference is zero for a single class, where a power below 1 has no slope.
        area_loss = attn_mean.clamp_min(torch.finfo(attn_mean.dtype).tiny) ** self.power
        absent_loss = torch.zeros_like(ce) if absent_loss is None else absent_loss
        return {
            "loss": ce + self.lambda_value * area_loss + self.absent_weight * absent_loss,
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
        # The value is the global mean, the gradient that of the local mean: averaging the gradients over the processes
        # makes it the gradient of the global loss.
        return attn_mean + (everywhere - attn_mean.detach())

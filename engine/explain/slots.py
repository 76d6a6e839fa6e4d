"""Explanations by a slot model: attention maps, and evidence maps, which sum to the logits."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from engine.explain.interface import Claim, Explainer
from sloter.reference import TWO_SIDED
from sloter.slot_model import SlotModel, SlotOutput


def attention_maps(output: SlotOutput) -> Tensor:
    """Attention (b, c, h, w) of each class, summed over its slots, from the output of a slot model."""
    assert output.attn is not None
    return output.attn.sum(2)  # (b, c, h, w)


def evidence_maps(output: SlotOutput) -> Tensor:
    """Evidence (b, c, h, w) of each class; its sum over the grid is the logit, for a negative model minus the logit."""
    return output.evidence


MAPS: dict[str, Callable[[SlotOutput], Tensor]] = {"attention": attention_maps, "evidence": evidence_maps}


def slot_explainer(model: nn.Module, kind: str) -> Explainer:
    """Build an explainer from a slot model: one forward pass for any number of classes.

    Args:
        model: a slot model.
        kind: a key of :data:`MAPS`.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in MAPS:
        raise ValueError(f"unknown kind of map '{kind}': choose one of {', '.join(MAPS)}")

    @torch.no_grad()
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        maps = MAPS[kind](model.eval()(images))  # (b, c, h, w)
        return maps.gather(1, targets[:, :, None, None].expand(-1, -1, *maps.shape[2:]))  # (b, t, h, w)

    return explain


def slot_claim(model: nn.Module, kind: str) -> Claim | None:
    """What the maps of a slot model sum to: evidence to the logit, of a negative model to minus the logit.

    None for attention, which sums to nothing.
    """
    if kind != "evidence":
        return None

    @torch.no_grad()
    def signed_logits(images: Tensor, classes: Tensor) -> Tensor:
        assert isinstance(model, SlotModel)
        return model.sign * model.eval()(images).logits.gather(1, classes[:, None])[:, 0]

    return signed_logits


@dataclass(frozen=True)
class Explanation:
    """Explanation of one picture for every class, on the CPU."""

    logits: Tensor  # (c)
    probabilities: Tensor  # (c)
    attention: Tensor  # (c, h, w)
    evidence: Tensor  # (c, h, w), its sum is the logit, for a negative model minus the logit
    why: Tensor  # (c, h, w), evidence for the class, not negative
    why_not: Tensor  # (c, h, w), evidence against the class, not negative
    common: Tensor  # (c, h, w), the rest: logits == (why - why_not + common).sum((1, 2))
    two_sided: bool = False  # whether there can be evidence both for and against a class

    def of_outputs(self, order: Tensor) -> "Explanation":
        """Explanation for the outputs ``order`` (c) in this order."""
        names = [field.name for field in fields(Explanation) if field.name != "two_sided"]
        values = {name: getattr(self, name)[order] for name in names}
        return Explanation(**values, two_sided=self.two_sided)

    def contrast(self, label: int, other: int) -> Tensor:
        """Evidence (h, w) for one class rather than another, signed; it sums to the difference of their logits.

        This is the log of the ratio of their probabilities, in nats, whatever the reference.
        """
        first, second = (self.why[c] - self.why_not[c] + self.common[c] for c in (label, other))  # (h, w) each
        return first - second


def explain_picture(model: nn.Module, image: Tensor) -> Explanation:
    """Explain one normalised picture (ch, H, W); see :func:`explain_pictures`."""
    return explain_pictures(model, image[None])[0]


@torch.no_grad()
def explain_pictures(model: nn.Module, images: Tensor) -> list[Explanation]:
    """Explain pictures for every class, with one forward pass.

    Args:
        model: a slot model; it is put into evaluation mode.
        images: (b, ch, H, W), normalised, on the model's device.
    """
    assert isinstance(model, SlotModel)
    output: SlotOutput = model.eval()(images)
    logits = output.logits.float()
    tensors = {
        "logits": logits, "probabilities": logits.softmax(1), "attention": attention_maps(output),
        "evidence": evidence_maps(output), **model.parts(output)._asdict(),
    }  # fmt: skip
    tensors = {name: tensor.float().cpu() for name, tensor in tensors.items()}
    two_sided = model.slot.reference in TWO_SIDED
    return [Explanation(**{name: tensor[i] for name, tensor in tensors.items()}, two_sided=two_sided)
            for i in range(len(images))]  # fmt: skip


def interesting_classes(explanation: Explanation, *, count: int, negative: bool, label: int | None) -> list[int]:
    """Choose the classes to show: the most likely, the true and, where there is evidence against classes, the least
    likely ones.

    Args:
        explanation: explanation of the picture.
        count: number of most likely classes.
        negative: whether the model is negative; then, or if the evidence has two sides, a third as many of the least
            likely classes follow, at least one.
        label: the true class, if it is known.
    """
    order = explanation.probabilities.argsort(descending=True, stable=True).tolist()
    chosen = order[:count]
    if label is not None and label not in chosen:
        chosen.append(label)
    if negative or explanation.two_sided:
        unlikely = explanation.logits.argsort(stable=True).tolist()[: max(count // 3, 1)]
        chosen += [c for c in unlikely if c not in chosen]
    return chosen

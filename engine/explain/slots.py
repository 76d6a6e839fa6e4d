"""Explanations of single pictures: what a slot model attended to for each class, and what that added to its score."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.explain.interface import Explainer

# What a slot model returns: logits (b, c), attn (b, c, s, h, w) and values (b, h, w).


def attention_maps(output: Any) -> Tensor:
    """(b, c, h, w): where each class looked, its slots summed."""
    return output.attn.sum(2)  # (b, c, h, w)


def evidence_maps(output: Any) -> Tensor:
    """(b, c, h, w): what each place added to the class; the sum over the grid is the logit but for its sign."""
    return output.attn.sum(2) * output.values[:, None]  # (b, c, h, w)


MAPS: dict[str, Callable[[Any], Tensor]] = {"attention": attention_maps, "evidence": evidence_maps}


def slot_explainer(model: nn.Module, kind: str) -> Explainer:
    """An explainer out of a slot model: one forward, whatever the number of classes.

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


@dataclass(frozen=True)
class Explanation:
    """All that is shown of one picture, on the CPU."""

    logits: Tensor  # (c)
    probabilities: Tensor  # (c)
    attention: Tensor  # (c, h, w)
    evidence: Tensor  # (c, h, w)


@torch.no_grad()
def explain_picture(model: nn.Module, image: Tensor) -> Explanation:
    """Explain one picture for every class with one forward.

    Args:
        model: a slot model; it is put into evaluation mode.
        image: (ch, H, W), normalised, on the model's device.
    """
    output = model.eval()(image[None])
    logits = output.logits[0].float()
    return Explanation(
        logits=logits.cpu(),
        probabilities=logits.softmax(0).cpu(),
        attention=attention_maps(output)[0].float().cpu(),
        evidence=evidence_maps(output)[0].float().cpu(),
    )


def interesting_classes(explanation: Explanation, *, count: int, negative: bool, label: int | None) -> list[int]:
    """The classes worth a look: the most likely ones, the true one and, of a negative model, the most denied ones.

    Args:
        explanation: of the picture.
        count: how many likely classes.
        negative: of a negative model a third as many of the least likely classes follow, at least one.
        label: the true class, if it is known.
    """
    order = explanation.probabilities.argsort(descending=True, stable=True).tolist()
    chosen = order[:count]
    if label is not None and label not in chosen:
        chosen.append(label)
    if negative:
        denied = explanation.logits.argsort(stable=True).tolist()[: max(count // 3, 1)]
        chosen += [c for c in denied if c not in chosen]
    return chosen

"""Gallery of the report: one card per picture with its evidence maps, wrong predictions first."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools import ToolError
from tools.figures.report.parts import NO_VALUE, breakable, fill, is_finite, isolated, percent
from tools.figures.report.pictures import COLOURS, EmbeddedPicture, map_uris

MAX_SMALL_SIDE = 64  # pixels up to which a picture is enlarged without smoothing
LEGEND = {
    "positive": "red: evidence for the class",
    "negative": "blue: evidence against the class",
    "contrast": "both: evidence for the predicted class (red) and for the true one (blue)",
}
FOR_OR_AGAINST = {"positive": "for class", "negative": "against class", "contrast": "for"}
ICONS = {"right": "M2 7l3 3 6-7", "wrong": "M2 2l8 8M10 2l-8 8"}
ORDER = "Mistakes come first, the most confident at the top, then right predictions, the least confident first."


@dataclass(frozen=True)
class ReportMap:
    """Evidence map for or against one class on one picture."""

    name: str
    probability: float
    logit: float
    values: np.ndarray  # (h, w), non-negative except for a contrast
    kind: str  # positive (evidence for the class, red), negative (against it, blue) or contrast (signed, both)
    is_part: bool = False  # whether the map is one side of the evidence, and its sum not the logit
    model: str = ""  # in words, where a card has maps of several; the maps of each have a scale of their own
    prediction: str = ""  # the class that this model predicts; empty for that of the card


@dataclass(frozen=True)
class ReportCard:
    """Picture with its true and predicted class, and maps of the classes of interest."""

    title: str
    picture: EmbeddedPicture  # not the picture itself: a thousand photographs would fill the memory
    label: str | None  # None if unknown
    prediction: str
    probability: float  # probability of the prediction
    maps: Sequence[ReportMap]

    @property
    def outcome(self) -> str:
        """Outcome of the prediction: right, wrong or unknown."""
        if self.label is None:
            return "unknown"
        return "right" if self.label == self.prediction else "wrong"


def in_order(cards: Sequence[ReportCard]) -> list[ReportCard]:
    """Sort cards: wrong ones by falling probability, right ones by rising probability, unknown ones as given."""
    rank = {"wrong": 0, "right": 1, "unknown": 2}
    sign = {"wrong": -1, "right": 1, "unknown": 0}

    def key(card: ReportCard) -> tuple[int, float]:
        probability = card.probability if is_finite(card.probability) else 0.0
        return rank[card.outcome], sign[card.outcome] * probability

    return sorted(cards, key=key)


def gallery(cards: Sequence[ReportCard]) -> str:
    """HTML of the section of pictures, sorted; empty without pictures.

    Raises:
        ToolError: a map is of an unknown kind, or not (h, w).
    """
    if not cards:
        return ""
    outcomes = Counter(card.outcome for card in cards)
    labelled = outcomes["right"] + outcomes["wrong"] > 0
    # If no true class is known, the filter offers the predicted classes.
    counts = Counter(card.label if labelled else card.prediction for card in cards)
    names = sorted((name for name in counts if name is not None), key=_natural)
    number_of: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    kinds = {m.kind for card in cards for m in card.maps}
    legend = [f'<li><span class="swatch {kind}"></span>{text}</li>' for kind, text in LEGEND.items() if kind in kinds]
    return fill(
        "gallery.html",
        order=ORDER if labelled else "",
        legend="".join(legend) + "<li>the maps of a model share one scale per picture; pale: little evidence</li>",
        class_label="True class" if labelled else "Predicted class",
        options="".join(
            f'<option value="{i}">{isolated(name)} ({counts[name]})</option>' for name, i in number_of.items()
        ),
        outcome=fill("outcome.html", wrong=outcomes["wrong"], right=outcomes["right"]) if labelled else "",
        cards_total=len(cards),
        cards="\n".join(
            _card(card, number, number_of.get(card.label if labelled else card.prediction, ""))
            for number, card in enumerate(in_order(cards), 1)
        ),
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (0, part.casefold()) for part in re.split(r"(\d+)", name) if part]


def _card(card: ReportCard, number: int, class_number: int | str) -> str:
    uri, width, height = card.picture
    named = card.title.casefold().startswith("picture")
    of_picture = isolated(card.title) if named else f"picture {isolated(card.title)}"
    facts = {"True class": card.label, "Prediction": card.prediction}
    lines = [f"<dt>{key}</dt><dd>{breakable(value)}</dd>" for key, value in facts.items() if value is not None]
    lines.append(f"<dt>Probability</dt><dd>{percent(card.probability)}</dd>")
    return fill(
        "card.html",
        number=number,
        outcome=card.outcome,
        class_number=class_number,
        title=breakable(card.title),
        mark=_mark(card.outcome),
        small=" small" if max(width, height) <= MAX_SMALL_SIDE else "",
        picture=uri,
        width=width,
        height=height,
        alt=isolated(card.title[:1].upper() + card.title[1:]) if named else f"P{of_picture[1:]}",
        facts="".join(lines),
        maps="".join(_maps(card, of_picture, width, height)),
    )


def _mark(outcome: str) -> str:
    """Mark of a right or wrong prediction by word, sign and colour; empty if unknown."""
    if outcome not in ICONS:
        return ""
    icon = f'<svg viewBox="0 0 12 12" aria-hidden="true"><path d="{ICONS[outcome]}"/></svg>'
    return f'<span class="mark {outcome}">{icon}{outcome}</span>'


def _largest(m: ReportMap) -> float:
    """Largest value that is drawn of a map."""
    finite = np.where(np.isfinite(m.values), m.values, 0.0)
    return float((np.abs(finite) if m.kind == "contrast" else finite).max(initial=0.0))


def _tags(m: ReportMap, card: ReportCard) -> list[str]:
    """Words beside the class of a map: whose it is, and whether the class is the true or the predicted one."""
    tags = {"true": card.label, "predicted": m.prediction or card.prediction}
    return [m.model] * bool(m.model) + [tag for tag, name in tags.items() if name == m.name]


def _maps(card: ReportCard, of_picture: str, width: int, height: int) -> list[str]:
    uris: dict[int, str] = {}
    for m in card.maps:
        if m.kind not in COLOURS or np.ndim(m.values) != 2:
            raise ToolError(
                f"map of {m.name} on {of_picture}: kind {m.kind!r}, shape {np.shape(m.values)}; give "
                f"{' or '.join(COLOURS)}, (h, w)"
            )
    for model, kind in dict.fromkeys((m.model, m.kind) for m in card.maps):
        own = [i for i, m in enumerate(card.maps) if (m.model, m.kind) == (model, kind)]
        # Evidence for and against share a scale, so that the depth of red and blue can be compared.
        together = [m for m in card.maps if m.model == model and (m.kind == "contrast") == (kind == "contrast")]
        scale = max(_largest(m) for m in together)
        uris |= dict(zip(own, map_uris([card.maps[i].values for i in own], kind, scale=scale), strict=True))
    return [
        fill(
            "map.html",
            kind=m.kind,
            picture=uris[i],
            width=width,
            height=height,
            alt=f"Map of evidence {FOR_OR_AGAINST[m.kind]} {isolated(m.name)} on {of_picture}",
            class_name=breakable(m.name),
            tags="".join(f' <span class="tag">{tag}</span>' for tag in _tags(m, card)),
            probability=percent(m.probability),
            amount=_amount(m),
        )
        for i, m in enumerate(card.maps)
    ]


def _amount(m: ReportMap) -> str:
    """The logit, the sum of a side of the evidence before it, or the nats of a contrast."""
    if not is_finite(m.logit):
        return f"logit&nbsp;{NO_VALUE}"
    if m.kind == "contrast":
        return f"{m.logit:.3g}&nbsp;nats"
    side = f"{'for' if m.kind == 'positive' else 'against'}&nbsp;{np.sum(m.values):.3g}, " if m.is_part else ""
    return f"{side}logit&nbsp;{m.logit:.3g}"

"""The pictures of the report: one card each, its maps laid over it, the mistakes first."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tools import ToolError
from tools.figures.report.parts import NOTHING, breakable, escape, fill, is_finite, percent
from tools.figures.report.pictures import COLOURS, map_uris, picture_uri

SMALL = 64  # pixels up to which a picture is shown in hard pixels
LEGEND = {
    "positive": "red: what speaks for the class",
    "negative": "blue: what speaks against the class",
}
SPEAKS = {"positive": "for", "negative": "against"}
ICONS = {"right": "M2 7l3 3 6-7", "wrong": "M2 2l8 8M10 2l-8 8"}
ORDER = "Mistakes come first, the surest at the top, then what is right, the least sure first."


@dataclass(frozen=True)
class ReportMap:
    """The evidence for (or against) one class on one picture."""

    name: str
    probability: float
    logit: float
    values: np.ndarray  # (h, w), at or above zero
    kind: str  # positive (speaks for the class, red) or negative (against it, blue)


@dataclass(frozen=True)
class ReportCard:
    """One picture, what it is, what it was taken for, and the maps of the classes worth showing."""

    title: str
    picture: Image.Image
    label: str | None  # None: nobody knows
    prediction: str
    probability: float  # of the prediction
    maps: Sequence[ReportMap]

    @property
    def outcome(self) -> str:
        """right, wrong or unknown."""
        if self.label is None:
            return "unknown"
        return "right" if self.label == self.prediction else "wrong"


def in_order(cards: Sequence[ReportCard]) -> list[ReportCard]:
    """Wrong ones first, the surest at the top, then right ones, the least sure first, then the unknown as given."""
    rank = {"wrong": 0, "right": 1, "unknown": 2}
    sign = {"wrong": -1, "right": 1, "unknown": 0}

    def key(card: ReportCard) -> tuple[int, float]:
        sure = card.probability if is_finite(card.probability) else 0.0
        return rank[card.outcome], sign[card.outcome] * sure

    return sorted(cards, key=key)


def gallery(cards: Sequence[ReportCard]) -> str:
    """The section of the pictures, brought into their order; empty without any.

    Raises:
        ToolError: a map is of no known kind, or not (h, w).
    """
    if not cards:
        return ""
    known = Counter(card.outcome for card in cards)
    labelled = known["right"] + known["wrong"] > 0
    # Of pictures whose class nobody knows, the predicted ones are what can be chosen.
    counts = Counter(card.label if labelled else card.prediction for card in cards)
    names = sorted((name for name in counts if name is not None), key=_natural)
    number_of: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    kinds = {m.kind for card in cards for m in card.maps}
    legend = [f'<li><span class="swatch {kind}"></span>{text}</li>' for kind, text in LEGEND.items() if kind in kinds]
    return fill(
        "gallery.html",
        order=ORDER if labelled else "",
        legend="".join(legend) + "<li>the maps of a picture share one scale: pale means little</li>",
        class_label="True class" if labelled else "Predicted class",
        options="".join(
            f'<option value="{i}">{escape(name)} ({counts[name]})</option>' for name, i in number_of.items()
        ),
        outcome=fill("outcome.html", wrong=known["wrong"], right=known["right"]) if labelled else "",
        cards_total=len(cards),
        cards="\n".join(
            _card(card, number, number_of.get(card.label if labelled else card.prediction, ""))
            for number, card in enumerate(in_order(cards), 1)
        ),
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (0, part.casefold()) for part in re.split(r"(\d+)", name) if part]


def _card(card: ReportCard, number: int, class_number: int | str) -> str:
    uri, width, height = picture_uri(card.picture)
    of_picture = card.title if card.title.casefold().startswith("picture") else f"picture {card.title}"
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
        small=" small" if max(width, height) <= SMALL else "",
        picture=uri,
        width=width,
        height=height,
        alt=escape(of_picture[:1].upper() + of_picture[1:]),
        facts="".join(lines),
        maps="".join(_maps(card, of_picture, width, height)),
    )


def _mark(outcome: str) -> str:
    """Right or wrong by word, sign and colour; nothing where nobody knows."""
    if outcome not in ICONS:
        return ""
    icon = f'<svg viewBox="0 0 12 12" aria-hidden="true"><path d="{ICONS[outcome]}"/></svg>'
    return f'<span class="mark {outcome}">{icon}{outcome}</span>'


def _maps(card: ReportCard, of_picture: str, width: int, height: int) -> list[str]:
    uris: dict[int, str] = {}
    for m in card.maps:
        if m.kind not in COLOURS or np.ndim(m.values) != 2:
            raise ToolError(
                f"map of {m.name} on {of_picture}: kind {m.kind!r}, shape {np.shape(m.values)}; give "
                f"{' or '.join(COLOURS)}, (h, w)"
            )
    for kind in COLOURS:
        own = [i for i, m in enumerate(card.maps) if m.kind == kind]
        uris |= dict(zip(own, map_uris([card.maps[i].values for i in own], kind), strict=True))
    tags = {"true": card.label, "predicted": card.prediction}
    return [
        fill(
            "map.html",
            kind=m.kind,
            picture=uris[i],
            width=width,
            height=height,
            alt=escape(f"Map of evidence {SPEAKS[m.kind]} class {m.name} on {of_picture}"),
            class_name=breakable(m.name),
            tags="".join(f' <span class="tag">{tag}</span>' for tag, name in tags.items() if name == m.name),
            probability=percent(m.probability),
            logit=f"{m.logit:.3g}" if is_finite(m.logit) else NOTHING,
        )
        for i, m in enumerate(card.maps)
    ]

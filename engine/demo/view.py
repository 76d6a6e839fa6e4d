"""Explanations as HTML for the page, in the colours and words of the report and of the figures."""

import html
from collections.abc import Sequence

import numpy as np
from PIL import Image

from engine.demo.examples import Example
from engine.explain.result import PictureExplanation
from tools.figures.contrast import contrast_text
from tools.figures.report.gallery import MAX_SMALL_SIDE
from tools.figures.report.parts import breakable, escape, isolated, percent
from tools.figures.report.pictures import map_uris, picture_uri
from tools.text import rounded_sum, visible

MAX_TILES = 12  # of the most likely classes
MINUS = "\u2212"


def answer(result: PictureExplanation, *, label: int | None) -> str:
    """The predicted class and its probability; of an example also whether it is right."""
    best = int(result.probabilities.argmax())
    line = (f'The model sees <strong class="class">{breakable(result.predicted)}</strong>, '
            f"probability {percent(float(result.probabilities[best]))}.")  # fmt: skip
    if label is not None:
        verdict = "right" if label == best else "wrong"
        line += (
            f' <span class="verdict {verdict}">{verdict}: the label is {breakable(result.class_names[label])}</span>'
        )
    return f'<p class="answer" role="status">{line}</p>'


def message(text: str) -> str:
    """A line in place of an answer."""
    return f'<p class="answer fault" role="alert">{escape(text)}</p>'


def example_buttons(examples: Sequence[Example], names: Sequence[str]) -> str:
    """The examples as buttons with their labels."""
    return "<h2>Examples that it was not trained on</h2>" + _group("examples", [
        f'<button type="button" data-number="{number}">{_picture(example.picture, example.title)}'
        f"<span>{breakable(names[example.label])}</span></button>"
        for number, example in enumerate(examples)
    ])  # fmt: skip


def class_buttons(result: PictureExplanation, chosen: int) -> str:
    """The most likely classes as buttons with their maps and probabilities."""
    likely = ranked(result)[:MAX_TILES]
    shown = likely if chosen in likely else [*likely, chosen]
    layers = map_uris([signed_map(result, c) for c in shown], "contrast", scale=_scale(result))
    return _group("classes", [_class_button(result, c, layer, pressed=c == chosen)
                              for c, layer in zip(shown, layers, strict=True)])  # fmt: skip


def _class_button(result: PictureExplanation, c: int, layer: str, *, pressed: bool) -> str:
    name, share = result.class_names[c], float(result.probabilities[c])
    return (
        f'<button type="button" data-number="{c}" aria-pressed="{str(pressed).lower()}">'
        f"{_overlay(result.picture, layer, f'Evidence for and against {isolated(name)}')}"
        f'<span>{breakable(name)}</span><span class="share">{percent(share)}</span>'
        f'<progress value="{share:.4f}" aria-hidden="true"></progress></button>'
    )


def class_view(result: PictureExplanation, c: int) -> str:
    """The picture, the evidence of a class over it, and the sum that makes the logit."""
    name = result.class_names[c]
    (layer,) = map_uris([signed_map(result, c)], "contrast", scale=_scale(result))
    h, w = result.evidence.shape[1:]
    seen = _figure(_picture(result.picture, "The picture as the model sees it"),
                   f"what the model sees: {result.picture.width} x {result.picture.height} pixels")  # fmt: skip
    evidence = _figure(_overlay(result.picture, layer, f"Map of the evidence for and against {isolated(name)}"),
                       f"its evidence about {breakable(name)}, at {w} x {h} places")  # fmt: skip
    return _parts(seen, evidence, _legend(result, breakable(name)), _sum(result, c))


def contrast_view(result: PictureExplanation, first: int, second: int) -> str:
    """The evidence for one class rather than another over the picture, with the ratio of their probabilities."""
    if first == second:
        return '<p class="hint">Choose two different classes.</p>'
    names = result.class_names[first], result.class_names[second]
    contrast = result.contrast(first, second).numpy()  # (h, w)
    (layer,) = map_uris([contrast], "contrast")
    total = contrast.sum()
    legend = {"positive": f"red: for {breakable(names[0])}", "negative": f"blue: for {breakable(names[1])}"}
    red, blue = rounded_sum(total, contrast.clip(0).sum())
    amounts = _equation({"red": red, f"{MINUS} blue": abs(blue), "= nats": total})
    text = f'{amounts}<p class="ratio">{escape(contrast_text(*names, float(total)))}</p>'
    alt = f"Map of the evidence for {isolated(names[0])} rather than {isolated(names[1])}"
    return _parts("", _figure(_overlay(result.picture, layer, alt), ""), legend, text)


def ranked(result: PictureExplanation) -> list[int]:
    """Classes, the most likely first."""
    return result.probabilities.argsort(descending=True, stable=True).tolist()


def choice(result: PictureExplanation, c: int) -> str:
    """Name of a class in a list, with its probability."""
    return f"{visible(result.class_names[c])}  ({100 * float(result.probabilities[c]):.1f} %)"


def signed_map(result: PictureExplanation, c: int) -> np.ndarray:
    """Evidence (h, w) of a class: above zero for it, below zero against it."""
    if result.two_sided:
        return (result.why[c] - result.why_not[c]).numpy()  # at each place at most one of them is not zero
    return (-result.evidence[c] if result.negative else result.evidence[c]).numpy()


def _scale(result: PictureExplanation) -> float:
    """Largest evidence of any class at any place, which the maps of all classes share as their scale."""
    parts = (result.why, result.why_not) if result.two_sided else (result.evidence,)
    return max(float(part.max()) for part in parts)


def _legend(result: PictureExplanation, name: str) -> dict[str, str]:
    """Meaning of the colours of the map of a class, whose name is HTML."""
    if result.two_sided:
        return {"positive": f"red: what speaks for {name} and for few others",
                "negative": f"blue: what speaks against {name} and against few others"}  # fmt: skip
    if result.negative:
        return {"negative": f"blue: evidence against {name}"}
    return {"positive": f"red: evidence for {name}"}


def _sum(result: PictureExplanation, c: int) -> str:
    """The sum of the maps, which is the logit."""
    one = result.for_class(c)
    if result.two_sided:
        above, below, common = rounded_sum(one.logit, float(one.why.sum()), -float(one.why_not.sum()))
        sign = MINUS if common < 0 else "+"
        parts = {"for": above, f"{MINUS} against": abs(below), f"{sign} shared by the classes": abs(common),
                 "= logit": one.logit}  # fmt: skip
    else:
        side = f"{MINUS} against" if result.negative else "for"
        parts = {side: float(one.evidence.sum()), "= logit": one.logit}
    return _equation(parts)


def _equation(parts: dict[str, float]) -> str:
    """A sum with a name below each of its terms; the sign of a term is the first word of its name."""
    terms = []
    for key, value in parts.items():
        sign, _, name = key.partition(" ") if key[0] in f"{MINUS}+=" else ("", "", key)
        number = f"{value:.1f}".replace("-", MINUS)
        terms.append(f'<span class="term"><b>{sign} {number}</b> <span>{name}</span></span>')
    return f'<p class="sum">{" ".join(terms)}</p>'


def _parts(picture: str, layer: str, legend: dict[str, str], text: str) -> str:
    """Pictures beside the meaning of the colours and the numbers."""
    colours = "".join(f'<li><span class="swatch {kind}"></span><span>{words}</span></li>'
                      for kind, words in legend.items())  # fmt: skip
    return f'<div class="parts grey">{picture}{layer}<div><ul class="legend">{colours}</ul>{text}</div></div>'


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def _picture(picture: Image.Image, alt: str) -> str:
    uri, width, height = picture_uri(picture)
    small = " small" if max(width, height) <= MAX_SMALL_SIDE else ""
    return f'<img class="picture{small}" src="{uri}" width="{width}" height="{height}" alt="{html.escape(alt)}">'


def _overlay(picture: Image.Image, layer: str, alt: str) -> str:
    """A map over the pale grey picture."""
    uri, width, height = picture_uri(picture)
    small = " small" if max(width, height) <= MAX_SMALL_SIDE else ""
    return (f'<span class="frame"><img class="base{small}" src="{uri}" width="{width}" height="{height}" alt="">'
            f'<img class="layer" src="{layer}" alt="{alt}"></span>')  # fmt: skip


def _group(kind: str, buttons: Sequence[str]) -> str:
    return f'<div class="buttons {kind} grey">{"".join(buttons)}</div>'

"""Training curves of the report as SVG; the style sheet sets their colours, for light and dark mode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import MaxNLocator

from tools.figures.report.parts import breakable, escape, is_finite

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 42, 350, 10, 184  # edges of the frame
NUM_COLOURS = 6  # series-0 ... in page.css
MAX_POINTS_WITH_DOTS = 60  # up to which each point has a dot with its value
# Title, factor, and the log's key and the split of each line.
PANELS = (
    ("Loss", 1, {"loss": "training", "val_loss": "validation"}),
    ("Top-1 accuracy, %", 100, {"top1": "training", "val_top1": "validation"}),
    ("Area of the explanation, %", 100, {"val_area": "validation"}),
)
Point = tuple[int, float | None]  # epoch from 1; None if the log has no number


@dataclass(frozen=True)
class _Line:
    run: str
    number: int  # of the run
    split: str  # training or validation
    points: Sequence[Point]


def curves(records: Sequence[Mapping[str, Any]]) -> str:
    """HTML of the curves and their legend; empty if the records have no numbers.

    Args:
        records: records of ``log.jsonl``, whose ``epoch`` counts from 0.
    """
    usable = [record for record in records if is_finite(record.get("epoch"))]
    runs = list(dict.fromkeys(str(record.get("run", "")) for record in usable))
    figures = []
    for title, factor, keys in PANELS:
        lines = [_line(usable, run, i, key, split, factor) for i, run in enumerate(runs) for key, split in keys.items()]
        lines = [line for line in lines if any(value is not None for _, value in line.points)]
        if lines:
            figures.append(_figure(title, lines))
    return f'<div class="curves">{"".join(figures)}</div>{_legend(runs)}' if figures else ""


def _line(records: Sequence[Mapping[str, Any]], run: str, number: int, key: str, split: str, factor: int) -> _Line:
    own = [record for record in records if str(record.get("run", "")) == run]
    points = [(int(r["epoch"]) + 1, factor * float(r[key]) if is_finite(r.get(key)) else None) for r in own]
    return _Line(run, number, split, points)


def _figure(title: str, lines: Sequence[_Line]) -> str:
    epochs = [epoch for line in lines for epoch, _ in line.points]
    values = [value for line in lines for _, value in line.points if value is not None]
    first, last = min(epochs), max(epochs)
    x_ticks = [t for t in MaxNLocator(5, integer=True).tick_values(first, last) if first <= t <= last]
    low, high = min(values), max(values)
    margin = 0.0 if high > low else max(abs(low) / 4, 0.01)  # around a constant line
    y_ticks = MaxNLocator(4).tick_values(low - margin, high + margin)

    def x(epoch: float) -> float:
        share = 0.5 if first == last else (epoch - first) / (last - first)
        return LEFT + 6 + share * (RIGHT - LEFT - 12)

    def y(value: float) -> float:
        return BOTTOM - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (BOTTOM - TOP)

    parts = [f'<path class="grid" d="M{LEFT} {y(t):.1f}H{RIGHT}"/>' for t in y_ticks]
    parts += [f'<text class="axis" x="{LEFT - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{t:.6g}</text>' for t in y_ticks]
    parts += [
        f'<text class="axis" x="{x(t):.1f}" y="{BOTTOM + 16}" text-anchor="middle">{t:.0f}</text>' for t in x_ticks
    ]
    middle = (LEFT + RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">epoch</text>')
    for line in lines:
        drawn = [(x(epoch), None if value is None else y(value)) for epoch, value in line.points]
        parts.append(_path(line, drawn) + _dots(line, drawn))
    single = len({line.run for line in lines}) == 1
    last_values = "; ".join(_last_value(line, named=not single) for line in lines)
    caption = f'<span class="last">last: {last_values}</span>' if single else ""
    return (
        f'<figure class="panel"><figcaption>{escape(title)}{caption}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} by epoch; last: {last_values}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _path(line: _Line, drawn: Sequence[tuple[float, float | None]]) -> str:
    """SVG path with gaps where the log has no number; the round line cap makes a dot of an isolated point."""
    steps, pen_down = [], False
    for x, y in drawn:
        if y is not None:
            steps.append(f"L{x:.1f} {y:.1f}" if pen_down else f"M{x:.1f} {y:.1f}h0")
        pen_down = y is not None
    dashed = " dashed" if line.split == "training" else ""
    return f'<path class="line series-{line.number % NUM_COLOURS}{dashed}" d="{"".join(steps)}"/>'


def _dots(line: _Line, drawn: Sequence[tuple[float, float | None]]) -> str:
    if len(drawn) > MAX_POINTS_WITH_DOTS:
        return ""
    quiet = " quiet" if line.split == "training" and len(drawn) > 1 else ""  # its dashes show its points
    return "".join(
        f'<circle class="dot{quiet} series-{line.number % NUM_COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="2.6">'
        f"<title>{escape(line.run)}, {line.split}, epoch {epoch}: {value:.4g}</title></circle>"
        for (x, y), (epoch, value) in zip(drawn, line.points, strict=True)
        if y is not None
    )


def _last_value(line: _Line, *, named: bool) -> str:
    value = [value for _, value in line.points if value is not None][-1]
    run = f"{escape(line.run)} " if named else ""
    return f"{run}{line.split} {value:.4g}"


def _legend(runs: Sequence[str]) -> str:
    def sample(style: str) -> str:
        path = f'<path class="line {style}" d="M2 5H30"/>'
        return f'<svg viewBox="0 0 32 10" aria-hidden="true">{path}</svg>'

    items = [f"<li>{sample('neutral dashed')}training</li>", f"<li>{sample('neutral')}validation</li>"]
    if len(runs) > 1:
        items += [f"<li>{sample(f'series-{i % NUM_COLOURS}')}{breakable(run)}</li>" for i, run in enumerate(runs)]
    return f'<ul class="runs">{"".join(items)}</ul>'

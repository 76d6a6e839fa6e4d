"""Report page of a run: configuration, accuracy, curves, metrics, and pictures with their maps, in one HTML file.

Its Content-Security-Policy forbids the network and every script or style except the page's own, whatever the name of
a class or a picture may be.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.figures.report.curves import curves
from tools.figures.report.gallery import ReportCard, ReportMap, gallery
from tools.figures.report.parts import breakable, escape, fill, is_number, percent, plain, text_of
from tools.files import write_atomically

__all__ = ["Report", "ReportCard", "ReportMap", "save_report"]


@dataclass(frozen=True)
class Report:
    """Content of the page; an empty field has no section."""

    title: str
    configuration: Mapping[str, object]
    accuracy: Mapping[str, float]  # shares from 0 to 1
    metric_rows: Sequence[Mapping[str, object]]
    curves: Sequence[Mapping[str, object]]  # records of log.jsonl
    cards: Sequence[ReportCard]
    data: str = ""  # data and checkpoint, below the title
    faults: Sequence[str] = ()  # of the table of scores, above it
    more_metrics: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)  # more tables, by title


def save_report(path: Path, report: Report) -> None:
    """Write the page, completely or not at all.

    Args:
        path: the HTML file.
        report: its content; the cards are sorted here.

    Raises:
        ToolError: a map is of an unknown kind, or not (h, w).
        OSError: the file cannot be written.
    """
    sections = {
        "Configuration": _configuration(report.configuration),
        "Accuracy": _accuracy(report.accuracy),
        "Curves": curves(report.curves),
        "Scores": _scores(report),
        "Pictures": gallery(report.cards),
    }
    sections = {name: content for name, content in sections.items() if content}
    style, script = text_of("page.css") + text_of("maps.css"), text_of("page.js")
    page = fill(
        "page.html",
        policy=_policy(style, script),
        title=escape(report.title),
        data=f"<p>{escape(report.data)}</p>" if report.data else "",
        style=style,
        script=script,
        skip='<a class="skip" href="#pictures">Skip to the pictures</a>' if "Pictures" in sections else "",
        navigation=_navigation(sections) if len(sections) > 1 else "",
        sections="\n".join(_section(name, content) for name, content in sections.items()),
    )
    # A file name that is not valid text on this system contains surrogates, which UTF-8 cannot encode.
    write_atomically(path, page.encode("utf-8", errors="replace"))


def _policy(style: str, script: str) -> str:
    """Policy that allows embedded pictures, and the style sheet and script with these digests; nothing else."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {digest(style)}; script-src {digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _section(name: str, content: str) -> str:
    anchor = name.lower()
    heading = f'<h2 id="{anchor}-title">{name}</h2>'
    return f'<section id="{anchor}" aria-labelledby="{anchor}-title">{heading}{content}</section>'


def _navigation(sections: Mapping[str, str]) -> str:
    links = "".join(f'<li><a href="#{name.lower()}">{name}</a></li>' for name in sections)
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>'


def _configuration(configuration: Mapping[str, object]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{plain(value) if value is None else breakable(value)}</td></tr>'
        for key, value in configuration.items()
    )
    if not rows:
        return ""
    return (
        f'<details class="panel"><summary>{len(configuration)} settings of the run</summary>'
        f'<div class="scroll"><table class="configuration"><tbody>{rows}</tbody></table></div></details>'
    )


def _accuracy(accuracy: Mapping[str, float]) -> str:
    tiles = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{percent(value, 2)}</dd></div>'
        for name, value in accuracy.items()
    )
    return f'<dl class="tiles">{tiles}</dl>' if tiles else ""


def _scores(report: Report) -> str:
    """Tables of the metrics, below what is wrong about them; empty without a table."""
    tables = _metrics(report.metric_rows)
    for title, rows in report.more_metrics.items():
        tables += f"<h3>{escape(title[:1].upper() + title[1:])}</h3>{_metrics(rows, title)}" if rows else ""
    notes = "".join(f"<p>{escape(fault)}</p>" for fault in report.faults)
    return notes + tables if tables else ""


def _metrics(rows: Sequence[Mapping[str, object]], title: str = "") -> str:
    """Table of the rows in their order; columns are all their keys in the order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        return ""
    numeric = {c for c in columns if all(row.get(c) is None or is_number(row[c]) for row in rows)}

    def cell(column: str, content: str, scope: str = "") -> str:
        tag = f'th scope="{scope}"' if scope else "td"
        kind = ' class="number"' if column in numeric else ""
        return f"<{tag}{kind}>{content}</{tag[:2]}>"

    head = "".join(cell(column, escape(column), "col") for column in columns)
    body = "".join(
        f"<tr>{''.join(cell(c, plain(row.get(c)), 'row' if c == columns[0] else '') for c in columns)}</tr>"
        for row in rows
    )
    label = f"Table of scores, {title}" if title else "Table of scores"
    return (
        f'<div class="panel scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        '<table class="metrics">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )

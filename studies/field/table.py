"""Table of the study as Markdown and CSV: measured rows, then published ones, which are marked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.explain.table import COLUMNS, SCIENTIFIC
from studies.field.plan import MODELS, OWN, Row

ABOUT = ("data", "model", "map", "source", "images", "forwards", "map_seconds", "scoring_seconds", "top1")


def measured_row(data: str, row: Row, trained: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Row of the table from the results of the two steps that it is of."""
    about = {"data": data, "model": MODELS[row.model].title, "map": row.method, "source": "measured",
             "top1": trained["top1"], "forwards": found["forwards"]}  # fmt: skip
    return {**about, **{name: value for name, value in found.items() if name not in about}}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Row of the CSV file: every column, each metric followed by the ends of its interval."""
    cells = {name: row.get(name, "") for name in ABOUT}
    cells["source"] = row["source"] if row["source"] == "measured" else f"published: {row['source']}"
    for name in COLUMNS:
        low, high = row.get("intervals", {}).get(name, ("", ""))
        cells |= {name: row.get(name, ""), f"{name}_low": low, f"{name}_high": high}
    return cells


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics of a table, in its order; those of the true class are shown in place of the explained one's."""
    shown = [name for name in COLUMNS if any(name in row for row in rows)]
    return [name for name in shown if not (name.endswith("_true") and name.removesuffix("_true") in COLUMNS)]


def shown_metric(row: Mapping[str, Any], name: str) -> str:
    """Key of a metric to show: a negative model explains an absent class, so that of the true class tells more."""
    return f"{name}_true" if f"{name}_true" in row else name


def cell(row: Mapping[str, Any], name: str) -> str:
    """A metric with half of its interval; a star marks one of the true class where another one is explained."""
    key = shown_metric(row, name)
    if row.get(key) is None:
        return "-"
    if name in SCIENTIFIC:
        return f"{row[key]:.1e}"
    low, high = row.get("intervals", {}).get(key) or (math.nan, math.nan)
    half = f" ±{(high - low) / 2:.3f}" if None not in (low, high) and math.isfinite(high - low) else ""
    return f"{row[key]:.3f}{'*' if key != name else ''}{half}"


def markdown(rows: Sequence[Mapping[str, Any]], published: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    """The whole table with notes below it; the columns are those that any row has."""
    names = columns_of([*rows, *published])
    head = ["data", "model", "map", "n", "top-1", *names, "forwards", "s a map", "wall, s", "source"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        lines.append([
            row["data"], row["model"], row["map"], str(row["images"]), cell(row, "top1"),
            *(cell(row, name) for name in names), f"{row['forwards']:.0f}", f"{row['map_seconds']:.3f}",
            f"{row['scoring_seconds']:.0f}", "measured",
        ])  # fmt: skip
    for row in published:
        metrics = [cell(row, name) for name in names]
        own = [row["data"], row["model"], OWN if set(row) & set(names) else "-", "-", cell(row, "top1"), *metrics]
        lines.append([*own, "-", "-", "-", f"**published**: {row['source']}"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([table, *notes]) + "\n"

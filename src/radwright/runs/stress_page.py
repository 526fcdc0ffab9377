"""The page of a stress run, and its three files: table, curves by strength, and dots of the strongest."""

from __future__ import annotations

import math
from pathlib import Path

from radwright.data.files import write_text
from radwright.evaluation.bootstrap import Interval
from radwright.evaluation.page.charts import Lane, Series
from radwright.evaluation.page.html import tag
from radwright.evaluation.page.systems import Comparison, Group, render_comparison
from radwright.runs.outputs import write_json
from radwright.runs.stress_recipe import Scenario
from radwright.runs.stress_table import (
    HOW_TO_READ,
    Row,
    StressTable,
    alarm,
    lines_of,
    markdown,
    not_learnt,
    over,
    statement,
)

_CURVES = {
    "f1.zero": "F1 of the finding, confounder independent",
    "drop": "Drop of accuracy from along to reversed",
    "effect": "Effect of the confounder alone on asserting the finding",
}
_DOTS = {
    "fabricated.equal": "Fabricated, confounder along with the finding",
    "fabricated.reversed": "Fabricated, reversed",
    "missed.equal": "Missed, confounder along with the finding",
    "missed.reversed": "Missed, reversed",
}


def write_results(folder: Path, table: StressTable) -> None:
    """Write ``stress.json``, ``stress.md`` and ``stress.html``.

    Raises:
        OutputError: one cannot be written.
    """
    write_json(folder / "stress.json", table.plain())
    write_text(folder / "stress.md", markdown(table))
    if table.rows:
        write_text(folder / "stress.html", render_comparison(_comparison(table)))


def _comparison(table: StressTable) -> Comparison:
    groups = [_group(table, scenario) for scenario in table.config.scenarios if [*table.cells(scenario.key)]]
    facts = {
        "command": str(table.provenance["command"]),
        "version": f"{table.provenance['radwright']} ({table.provenance['commit'] or 'no commit'})",
        "machine": str(table.provenance["machine"]),
    }
    alarms = [found] if (found := alarm(table)) else []
    return Comparison("Confounding benchmark", statement(table), groups, facts, alarms, HOW_TO_READ)


def _group(table: StressTable, scenario: Scenario) -> Group:
    cells = [*table.cells(scenario.key)]
    strongest = table.config.strength
    strong = [(system, rows) for system, rho, rows in cells if rho == strongest]
    dots = [
        (title, [_lane(table.label(system), name, rows) for system, rows in strong]) for name, title in _DOTS.items()
    ]
    return Group(
        scenario.label[0].upper() + scenario.label[1:],
        f"Curves: by strength in training. Dots: trained at {strongest:g}.",
        [(title, lanes) for title, lanes in dots if lanes],
        [(title, "rho in training", _series(table, scenario, name)) for name, title in _CURVES.items()],
        limits=(0.0, 1.0),
        curve_limits=(_lowest(table), 1.0),
        note=_note(table, any(not_learnt(rows) for _, _, rows in cells)),
        table=lines_of(table, scenario, bold=lambda cell: tag("strong", cell)),
    )


def _lowest(table: StressTable) -> float:
    """Where the axes of all curves begin: at 0, or below it where a value or its bar is, and nowhere below -1."""
    cells = [rows for scenario in table.config.scenarios for _, _, rows in table.cells(scenario.key)]
    intervals = [over([row.scores[name] for row in rows]) for rows in cells for name in _CURVES]
    values = [end for interval in intervals for end in (interval.value, interval.low) if math.isfinite(end)]
    return max(-1.0, min([0.0, *values]))


def _note(table: StressTable, has_hollow: bool) -> str:
    """What the bars of a plot are."""
    seeds = len(table.config.seeds)
    of_seeds = f"of the mean over {seeds} seeds (Student's t), cut at the ends of the axis"
    bars = "over studies; one seed" if seeds == 1 else of_seeds
    if seeds > 1 and len(table.rows) < table.num_planned:
        bars += "; of one seed so far, over studies"
    return f"Bars: 95 % interval {bars}." + (" Hollow: not learnt; says nothing of robustness." if has_hollow else "")


def _series(table: StressTable, scenario: Scenario, score: str) -> list[Series]:
    points: dict[str, list[tuple[float, float, float | None, float | None]]] = {}
    hollow: dict[str, set[float]] = {}
    for system, rho, rows in table.cells(scenario.key):
        interval = over([row.scores[score] for row in rows])
        points.setdefault(system, []).append((rho, interval.value, *_ends(interval)))
        if not_learnt(rows):
            hollow.setdefault(system, set()).add(rho)
    return [Series(table.label(system), found, hollow.get(system, ())) for system, found in points.items()]


def _lane(label: str, score: str, rows: list[Row]) -> Lane:
    """Gray and hollow where it has not learnt."""
    interval, mark = over([row.scores[score] for row in rows]), not_learnt(rows)
    return Lane(f"{label} ({mark})" if mark else label, interval.value, *_ends(interval), ours=not mark)


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    return (None, None) if math.isnan(interval.low) else (interval.low, interval.high)

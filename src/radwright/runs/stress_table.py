"""The result of a stress run: a row per system, scenario, strength and seed, as JSON, text, Markdown and a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radwright.evaluation.bootstrap import Interval
from radwright.evaluation.page.charts import Lane, Series
from radwright.evaluation.page.sections import WARNING
from radwright.evaluation.page.systems import Comparison, Group, render_comparison
from radwright.evaluation.stress import SETS, over_seeds, plain
from radwright.runs.finished import write_text
from radwright.runs.outputs import write_json
from radwright.runs.stress_recipe import Scenario, StressConfig

_KEPT = ("drop", "flips", "effect", "towards_absent", "fabricated.reversed", "missed.reversed")
"""Scores whose paired difference to the first system is kept."""


@dataclass(frozen=True, slots=True)
class Row:
    """One system in one scenario.

    Attributes:
        system: its name in the recipe.
        scenario: the scenario's key.
        rho: strength in training.
        seed: of the training.
        num_studies: test studies measured.
        num_skipped: of them without a draft, left out.
        scores: see ``radwright.evaluation.stress.stress_scores``, with intervals over studies.
        differences: the same minus the first system's of the same strength and seed, in pairs; empty for the first.
    """

    system: str
    scenario: str
    rho: float
    seed: int
    num_studies: int
    num_skipped: int
    scores: Mapping[str, Interval]
    differences: Mapping[str, Interval]

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "system": self.system,
            "scenario": self.scenario,
            "rho": self.rho,
            "seed": self.seed,
            "n": self.num_studies,
            "skipped": self.num_skipped,
            "scores": plain(self.scores),
            "differences": plain({name: self.differences[name] for name in _KEPT if name in self.differences}),
        }


@dataclass(frozen=True, slots=True)
class StressTable:
    """All rows so far.

    Attributes:
        config: the stress recipe.
        provenance: versions, commit, machine, command.
        rows: by seed and strength, then in the order of the recipe.
        num_planned: rows there will be.
        cost: seconds and cpu_seconds by now.
        trainings: part -> stage -> steps, minutes, weights.
    """

    config: StressConfig
    provenance: Mapping[str, Any]
    rows: tuple[Row, ...]
    num_planned: int
    cost: Mapping[str, float]
    trainings: Mapping[str, Any]

    def label(self, system: str) -> str:
        """What a system is called."""
        return self.config.systems[system].label or system

    def cells(self, scenario: str) -> Iterator[tuple[str, float, list[Row]]]:
        """(system, strength, its rows of all seeds) of a scenario, by system, then strength."""
        for system in self.config.systems:
            for rho in sorted(self.config.rhos):
                rows = [row for row in self.rows if (row.system, row.scenario, row.rho) == (system, scenario, rho)]
                if rows:
                    yield system, rho, rows

    def plain(self) -> dict[str, Any]:
        """The JSON."""
        return {
            "complete": len(self.rows) == self.num_planned,
            "settings": self.config.plain(),
            "provenance": dict(self.provenance),
            "cost": dict(self.cost),
            "strength_of_test_sets": self.config.strength,
            "rows": [row.plain() for row in self.rows],
            "means": [
                {"system": system, "scenario": scenario.key, "rho": rho, "seeds": [row.seed for row in rows]}
                | {"scores": plain({name: over([row.scores[name] for row in rows]) for name in rows[0].scores})}
                for scenario in self.config.scenarios
                for system, rho, rows in self.cells(scenario.key)
                if len(rows) > 1
            ],
            "trainings": dict(self.trainings),
        }


def over(intervals: Sequence[Interval]) -> Interval:
    """Of one seed its own interval over studies, of several their mean with its interval over seeds."""
    return intervals[0] if len(intervals) == 1 else over_seeds([interval.value for interval in intervals])


def write_table(folder: Path, table: StressTable) -> None:
    """Write ``stress.json``, ``stress.md`` and ``stress.html``.

    Raises:
        OutputError: one cannot be written.
    """
    write_json(folder / "stress.json", table.plain())
    write_text(folder / "stress.md", markdown(table))
    if table.rows:
        write_text(folder / "stress.html", render_comparison(_comparison(table)))


# --- tables -------------------------------------------------------------------------------------------------------


def _triple(prefix: str) -> Callable[[Mapping[str, Interval]], str]:
    return lambda scores: " / ".join(_number(scores[f"{prefix}.{name}"].value) for name in SETS)


_COLUMNS: Mapping[str, Callable[[Mapping[str, Interval]], str]] = {
    "F1": lambda scores: _number(scores["f1.zero"].value),
    "fabricated": _triple("fabricated"),
    "missed": _triple("missed"),
    "accuracy": _triple("accuracy"),
    "drop": lambda scores: _cell(scores["drop"]),
    "flips": lambda scores: _cell(scores["flips"]),
    "towards, against": lambda scores: f"{_number(scores['towards'].value)}, {_number(scores['against'].value)}",
}


def lines_of(table: StressTable, scenario: Scenario) -> list[list[str]]:
    """A header and a line per system and strength."""
    first = next(iter(table.config.systems))
    lines = [["system", "rho", *_COLUMNS, f"drop minus {table.label(first)}'s"]]
    for system, rho, rows in table.cells(scenario.key):
        scores = {name: over([row.scores[name] for row in rows]) for name in rows[0].scores}
        beside = [row.differences["drop"] for row in rows if "drop" in row.differences]
        difference = _cell(over(beside), mark=True) if len(beside) == len(rows) else ""
        lines.append([table.label(system), f"{rho:g}", *(cell(scores) for cell in _COLUMNS.values()), difference])
    return lines


def text(table: StressTable) -> str:
    """The tables for a terminal."""
    parts = []
    for scenario in table.config.scenarios:
        lines = [[cell.replace("**", "") for cell in line] for line in lines_of(table, scenario)]
        if len(lines) > 1:
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
            parts.append("\n".join([scenario.label, *(row.rstrip() for row in rows)]))
    return "\n\n".join(parts)


def markdown(table: StressTable) -> str:
    """The tables with what a reader must know of them."""
    parts = [f"# Confounding benchmark\n\n*{WARNING}*\n\n{statement(table)}\n\n{HOW_TO_READ}"]
    for scenario in table.config.scenarios:
        header, *lines = lines_of(table, scenario)
        if lines:
            rows = [header, ["---"] * len(header), *lines]
            parts.append(f"## {scenario.label}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"


HOW_TO_READ = (
    "Three numbers: confounder along with the finding / independent of it / reversed. F1: of the finding, confounder "
    "independent: whether it is learnt at all. Fabricated: of the studies without the finding, those whose draft "
    "asserts it; missed: of those with it, those whose draft does not. Accuracy: 1 - (fabricated + missed) / studies. "
    "Drop: accuracy along minus accuracy reversed; 0 is best. Flips: share of studies whose assertion changes when the "
    "confounder alone is set on and off; towards: the finding is asserted with it only; against: without it only. "
    "A phrase is not in the image: the draft is made to begin with its sentence, or with a neutral one."
)


def statement(table: StressTable) -> str:
    """What was done, in a few sentences."""
    config, unfinished = table.config, table.num_planned - len(table.rows)
    skipped = sum(row.num_skipped for row in table.rows)
    seeds = ", ".join(map(str, config.seeds))
    several = len(config.seeds) > 1
    counts = config.population.num_studies
    intervals = "over seeds (Student's t), of the mean" if several else "over studies and not over seeds"
    return (
        (f"Unfinished: {unfinished} of {table.num_planned} rows are still to come. " if unfinished else "")
        + f"Synthetic studies: {counts['train']} train, {counts['tune']} tune, {counts['test']} test, each of these "
        f"with and without each confounder; {f'{len(config.seeds)} seeds' if several else 'one seed'} ({seeds}). rho "
        f"is the strength in training; the test sets have {config.strength:g}, 0 and −{config.strength:g}, of the same "
        f"patients. Intervals are 95 %, {intervals}. "
        + (f"{skipped} studies without a draft were left out. " if skipped else "")
        + f"{table.cost['seconds'] / 60:.1f} minutes, {table.cost['cpu_seconds'] / 60:.1f} CPU-minutes on "
        f"{table.provenance['machine']}."
    )


def _cell(interval: Interval, *, mark: bool = False) -> str:
    """``.312 (.250 to .380)``; bold where asked for and 0 lies outside, also after rounding."""
    if math.isnan(interval.low):
        return _number(interval.value)
    shown = f"{_number(interval.value)} ({_number(interval.low)} to {_number(interval.high)})"
    return f"**{shown}**" if mark and (round(interval.low, 3) > 0 or round(interval.high, 3) < 0) else shown


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    shown = f"{abs(value):.3f}"
    sign = "−" if value < 0 and shown.strip("0.") else ""
    return sign + (shown[1:] if shown.startswith("0.") else shown)


# --- the page -----------------------------------------------------------------------------------------------------


def _comparison(table: StressTable) -> Comparison:
    groups = []
    strongest = table.config.strength
    for scenario in table.config.scenarios:
        cells = list(table.cells(scenario.key))
        if not cells:
            continue
        strong = [(system, rows) for system, rho, rows in cells if rho == strongest]
        lanes = [
            (title, [_lane(table.label(system), over([row.scores[name] for row in rows])) for system, rows in strong])
            for name, title in (
                ("fabricated.equal", "Fabricated, confounder along with the finding"),
                ("fabricated.reversed", "Fabricated, reversed"),
                ("missed.equal", "Missed, confounder along with the finding"),
                ("missed.reversed", "Missed, reversed"),
            )
        ]
        groups.append(
            Group(
                scenario.label[0].upper() + scenario.label[1:],
                f"Curves: by strength in training. Dots: trained at {strongest:g}.",
                tuple((title, found) for title, found in lanes if found),
                tuple(
                    (title, "rho in training", _series(table, scenario, name))
                    for name, title in (
                        ("drop", "Drop of accuracy from along to reversed"),
                        ("effect", "Effect of the confounder alone on asserting the finding"),
                    )
                ),
            )
        )
    facts = {
        "command": str(table.provenance["command"]),
        "version": f"{table.provenance['radwright']} ({table.provenance['commit'] or 'no commit'})",
        "machine": str(table.provenance["machine"]),
        "how to read": HOW_TO_READ,
    }
    return Comparison("Confounding benchmark", statement(table), tuple(groups), facts)


def _series(table: StressTable, scenario: Scenario, score: str) -> list[Series]:
    points: dict[str, list[tuple[float, float, float | None, float | None]]] = {}
    for system, rho, rows in table.cells(scenario.key):
        interval = over([row.scores[score] for row in rows])
        points.setdefault(table.label(system), []).append((rho, interval.value, *_ends(interval)))
    return [Series(label, found) for label, found in points.items()]


def _lane(label: str, interval: Interval) -> Lane:
    return Lane(label, interval.value, *_ends(interval), ours=True)


def _ends(interval: Interval) -> tuple[float | None, float | None]:
    return (None, None) if math.isnan(interval.low) else (interval.low, interval.high)

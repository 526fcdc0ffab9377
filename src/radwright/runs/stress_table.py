"""The result of a stress run: a row per system, scenario, strength and seed, as JSON, Markdown and text."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radwright.evaluation.bootstrap import Interval
from radwright.evaluation.page.sections import WARNING
from radwright.evaluation.stress import LEARNT, SETS, has_learnt, over_seeds, plain
from radwright.runs.stress_recipe import Scenario, StressConfig

_KEPT = ("drop", "flips", "effect", "towards_absent", "fabricated.reversed", "missed.reversed")
"""Scores whose paired difference to the first system is kept."""
_WIDTH = 100
"""Columns of a terminal that the text fits."""


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

    @property
    def learnt(self) -> bool:
        """Whether its drop means something (``has_learnt``)."""
        return has_learnt(self.scores)

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "system": self.system,
            "scenario": self.scenario,
            "rho": self.rho,
            "seed": self.seed,
            "n": self.num_studies,
            "skipped": self.num_skipped,
            "learnt": self.learnt,
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

    def is_compared(self, rows: Sequence[Row]) -> bool:
        """Whether these rows, all seeds of one cell, stand beside rows of the first system that mean something too."""
        first = next(iter(self.config.systems))
        places = {(row.scenario, row.rho, row.seed) for row in rows}
        beside = [row for row in self.rows if row.system == first and (row.scenario, row.rho, row.seed) in places]
        return all(row.learnt for row in (*rows, *beside))

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
                | {"learnt": all(row.learnt for row in rows)}
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


# --- tables -------------------------------------------------------------------------------------------------------


def _triple(prefix: str) -> Callable[[Mapping[str, Interval]], str]:
    return lambda scores: " / ".join(_number(scores[f"{prefix}.{name}"].value) for name in SETS)


_COLUMNS: Mapping[str, Callable[[Mapping[str, Interval]], str]] = {
    "J": lambda scores: _number(scores["youden"].value),
    "F1": lambda scores: _number(scores["f1.zero"].value),
    "drop": lambda scores: _cell(scores["drop"]),
    "accuracy": _triple("accuracy"),
    "fabricated": _triple("fabricated"),
    "missed": _triple("missed"),
    "flips": lambda scores: _cell(scores["flips"]),
    "towards, against": lambda scores: f"{_number(scores['towards'].value)}, {_number(scores['against'].value)}",
}


def lines_of(table: StressTable, scenario: Scenario, bold: Callable[[str], str]) -> list[list[str]]:
    """A header and a line per system and strength, with every number.

    Args:
        table: the result.
        scenario: of which.
        bold: marks a difference that several seeds tell from 0.
    """
    first = next(iter(table.config.systems))
    after_drop = [*_COLUMNS].index("drop") + 1
    header = [*_COLUMNS]
    header.insert(after_drop, f"drop minus {table.label(first)}'s")
    lines = [["system", "rho", *header]]
    for system, rho, rows in table.cells(scenario.key):
        scores = scores_of(rows)
        cells = [cell(scores) for cell in _COLUMNS.values()]
        cells.insert(after_drop, _beside(table, rows, bold))
        name = table.label(system) + (f" ({mark})" if (mark := not_learnt(rows)) else "")
        lines.append([name, f"{rho:g}", *cells])
    return lines


def _beside(table: StressTable, rows: Sequence[Row], bold: Callable[[str], str]) -> str:
    """Drop minus that of the first system; empty for the first itself, and where that has no drafts yet."""
    differences = [row.differences["drop"] for row in rows if "drop" in row.differences]
    if len(differences) < len(rows):
        return ""
    if not table.is_compared(rows):
        return "not compared"
    difference = over(differences)
    shown = _cell(difference)
    return bold(shown) if len(rows) > 1 and _is_off_zero(difference) else shown


def scores_of(rows: Sequence[Row]) -> dict[str, Interval]:
    """A system's scores over its rows of all seeds."""
    return {name: over([row.scores[name] for row in rows]) for name in rows[0].scores}


def not_learnt(rows: Sequence[Row]) -> str:
    """``not learnt``, ``not learnt in 1 of 3 seeds``, or nothing where every seed has learnt."""
    if not (missing := sum(not row.learnt for row in rows)):
        return ""
    return "not learnt" if missing == len(rows) else f"not learnt in {missing} of {len(rows)} seeds"


def alarm(table: StressTable) -> str:
    """Which systems have not learnt what they are tested for; empty where all have."""
    places = []
    for scenario in table.config.scenarios:
        found: dict[str, list[str]] = {}
        for system, rho, rows in table.cells(scenario.key):
            if mark := not_learnt(rows):
                found.setdefault(table.label(system), []).append(f"{rho:g}{mark.removeprefix('not learnt')}")
        if found:
            systems = "; ".join(f"{label} (rho {', '.join(rhos)})" for label, rhos in found.items())
            none_has = not any(row.learnt for row in table.rows if row.scenario == scenario.key)
            finding = scenario.cause.replace("_", " ").capitalize()
            places.append(f"{finding}: {'every system, at every rho' if none_has else systems}.")
    if not places:
        return ""
    return (
        f"Not learnt. {' '.join(places)} These drafts hardly follow the finding or its confounder (J below "
        f"{LEARNT:g}): a small drop is silence or chance there, not robustness, and they are compared with nothing."
    )


def text(table: StressTable) -> str:
    """What matters most for a terminal of 100 columns."""
    several = len(table.config.seeds) > 1
    parts = [textwrap.fill(said, _WIDTH) for said in (alarm(table), caution(table)) if said]
    for scenario in table.config.scenarios:
        lines = [["system", "rho", "F1", "drop", "drop minus first's"]]
        for system, rho, rows in table.cells(scenario.key):
            scores = scores_of(rows)
            f1 = _number(scores["f1.zero"].value) + (", not learnt" if not_learnt(rows) else "")
            beside = _beside(table, rows, bold=str)
            lines.append([table.label(system), f"{rho:g}", f1, _cell(scores["drop"]), beside])
        if len(lines) > 1:
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            widths[0] = min(widths[0], max(8, _WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
            rows_shown = [[_shortened(line[0], widths[0]), *line[1:]] for line in lines]
            shown_lines = (
                "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
                for line in rows_shown
            )
            parts.append("\n".join([_shortened(scenario.label, _WIDTH), *shown_lines]))
    parts.append(
        "F1: confounder independent. drop: accuracy along minus reversed; 0 is best. (): 95 % over "
        f"{'seeds' if several else 'studies'}."
    )
    return "\n\n".join(parts)


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def markdown(table: StressTable) -> str:
    """The tables with what a reader must know of them."""
    alarms = f"**{found}**\n\n" if (found := alarm(table)) else ""
    parts = [f"# Confounding benchmark\n\n*{WARNING}*\n\n{alarms}{statement(table)}\n\n{HOW_TO_READ}"]
    for scenario in table.config.scenarios:
        header, *lines = lines_of(table, scenario, bold="**{}**".format)
        if lines:
            rows = [header, ["---"] * len(header), *lines]
            parts.append(f"## {scenario.label}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"


HOW_TO_READ = (
    "Three numbers: confounder along with the finding / independent of it / reversed. J (Youden): of the studies "
    "with the finding, confounder on, those whose draft asserts it, minus the same of those without the finding, "
    "confounder off: 1 for who sees the finding and for who copies the confounder, 0 for silence, for always "
    f"asserting and for chance. Not learnt: J is below {LEARNT:g}, so that the drop says nothing "
    "and is compared with nothing. F1: of the finding, "
    "confounder independent. Fabricated: of the studies without the finding, those whose draft asserts it; "
    "missed: of those with it, those whose draft does not. Accuracy: 1 - (fabricated + missed) / studies. Drop: "
    "accuracy along minus accuracy reversed; 0 is best. Flips: share of studies whose assertion changes when the "
    "confounder alone is set on and off; towards: the finding is asserted with it only; against: without it only. "
    "A phrase is not in the image: the draft is made to begin with its sentence, or with a neutral one. Bold: a "
    "difference whose interval over seeds lies off 0, both systems having learnt in every seed, without a "
    "correction for how many are looked at. One seed gives no bold."
)


def caution(table: StressTable) -> str:
    """What one seed cannot say; empty with several."""
    if len(table.config.seeds) > 1:
        return ""
    return (
        "One seed: intervals over studies know nothing of another training, so that nothing here tells one system from "
        "another. More seeds may: seeds=[0,1,2]."
    )


def statement(table: StressTable) -> str:
    """What was done, in a few sentences."""
    config, unfinished = table.config, table.num_planned - len(table.rows)
    skipped = sum(row.num_skipped for row in table.rows)
    seeds = ", ".join(map(str, config.seeds))
    several = len(config.seeds) > 1
    counts = config.population.num_studies
    intervals = "of the mean over seeds (Student's t)" if several else "over studies"
    if several and unfinished:
        intervals += "; over studies where only one seed is there yet"
    return (
        (f"Unfinished: {unfinished} of {table.num_planned} rows are still to come. " if unfinished else "")
        + f"Synthetic studies: {counts['train']} train, {counts['tune']} tune, {counts['test']} test, each of these "
        f"with and without each confounder; {f'{len(config.seeds)} seeds' if several else 'one seed'} ({seeds}). rho "
        f"is the strength in training; the test sets have {config.strength:g}, 0 and −{config.strength:g}, of the same "
        f"patients. Intervals are 95 %, {intervals}. "
        + (f"{said} " if (said := caution(table)) else "")
        + (f"{skipped} studies without a draft were left out. " if skipped else "")
        + f"{table.cost['seconds'] / 60:.1f} minutes, {table.cost['cpu_seconds'] / 60:.1f} CPU-minutes on "
        f"{table.provenance['machine']}."
    )


def _cell(interval: Interval) -> str:
    """``.312 (.250 to .380)``."""
    if math.isnan(interval.low):
        return _number(interval.value)
    return f"{_number(interval.value)} ({_number(interval.low)} to {_number(interval.high)})"


def _is_off_zero(interval: Interval) -> bool:
    """Whether 0 lies outside, also after rounding."""
    return round(interval.low, 3) > 0 or round(interval.high, 3) < 0


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    shown = f"{abs(value):.3f}"
    sign = "−" if value < 0 and shown.strip("0.") else ""
    return sign + (shown[1:] if shown.startswith("0.") else shown)

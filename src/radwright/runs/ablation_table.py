"""The result of an ablation: a row per system and seed, as JSON, as a Markdown table and as a page of plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radwright.data.files import write_text
from radwright.evaluation.page.charts import Lane
from radwright.evaluation.page.sections import WARNING
from radwright.evaluation.page.systems import Comparison, Group, render_comparison
from radwright.runs.ablation_recipes import KINDS, System

BASELINE, WITHOUT_RADCARE = "baseline_from_scratch", "without_radcare"
"""What a system is compared with, beside the trivial baselines."""
METRICS: Mapping[str, str] = {
    "cider": "CIDEr-D",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor15_es": "METEOR es",
}
"""Scores that the tables show -> what they are called there."""
BEST_CONSTANT: Mapping[str, str] = {"cider": "constant_cider", "bleu_4": "constant_bleu_4"}
"""Score -> the constant that was chosen for it."""
COMPARED: Mapping[str, str] = {
    "best_constant": "minus the best constant",
    BASELINE: "minus the baseline from scratch",
    WITHOUT_RADCARE: "with RadCARE minus without",
}
_KIND_LABELS = {"baseline": "baseline", "vdm": "+VDM", "ldm": "+LDM", "vlci": "VLCI"}
_TRIVIAL_LABELS = {
    "constant_cider": "one text, best CIDEr",
    "constant_bleu_4": "one text, best BLEU-4",
    "random_train_report": "random train report",
}

Interval = Mapping[str, float]
"""value, low and high: a score, or a difference, with its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Row:
    """One system with one seed.

    Attributes:
        system: its name, ``vlci-radcare``.
        visual: whether it has visual deconfounding.
        linguistic: whether it has linguistic deconfounding.
        pretrained: whether it starts from the pre-training.
        seed: of the fine-tuning.
        metrics: score -> interval.
        differences: what it is compared with -> score -> paired interval of its score minus the other's.
        trivial: trivial baseline -> score -> interval, on the same studies.
        num_studies: studies scored.
        num_distinct: different drafts among them.
        steps: optimiser steps done within the time limit.
        total_steps: steps that the schedule was made for.
        epochs: passes over the train studies.
        minutes: wall-clock, validation included.
        stopped: why training ended.
        best_step: step of the weights that were kept.
        num_trained_weights: weights that training moved.
        signature: of the scores.
    """

    system: str
    visual: bool
    linguistic: bool
    pretrained: bool
    seed: int
    metrics: Mapping[str, Interval]
    differences: Mapping[str, Mapping[str, Interval]]
    trivial: Mapping[str, Mapping[str, Interval]]
    num_studies: int
    num_distinct: int
    steps: int
    total_steps: int
    epochs: float
    minutes: float
    stopped: str
    best_step: int
    num_trained_weights: int
    signature: str

    @classmethod
    def of(
        cls,
        system: System,
        seed: int,
        stages: Sequence[Mapping[str, Any]],
        scores: Mapping[str, Any],
        others: Mapping[str, str],
    ) -> Row:
        """From the summaries of a training's stages and its scores' JSON. Steps, epochs and minutes are those of all.

        Args:
            system: which one.
            seed: of the fine-tuning.
            stages: see ``radwright.runs.training.train_recipe``.
            scores: see ``radwright.evaluation.score.Evaluation.plain``.
            others: what it is compared with (``COMPARED``) -> the name that has in ``scores``.
        """
        visual, linguistic = KINDS[system.kind]
        differences = {label: scores["differences"][name] for label, name in others.items()}
        best = {
            metric: scores["differences"][name][metric]
            for metric, name in BEST_CONSTANT.items()
            if metric in scores["differences"].get(name, {})
        }
        return cls(
            system=system.name,
            visual=visual,
            linguistic=linguistic,
            pretrained=system.pretrained,
            seed=seed,
            metrics=scores["metrics"],
            differences={"best_constant": best, **differences} if best else differences,
            trivial={name: baseline["metrics"] for name, baseline in scores["baselines"].items()},
            num_studies=scores["n"],
            num_distinct=scores["diversity"]["num_distinct"],
            steps=sum(stage["steps"] for stage in stages),
            total_steps=sum(stage["total_steps"] for stage in stages),
            epochs=sum(stage["epochs"] for stage in stages),
            minutes=sum(stage["elapsed_s"] for stage in stages) / 60,
            stopped=stages[-1]["stopped"],
            best_step=stages[-1]["best_step"],
            num_trained_weights=stages[-1]["num_trained_weights"],
            signature=scores["signature"],
        )

    @property
    def label(self) -> str:
        """``+VDM, RadCARE``."""
        kind, _, start = self.system.partition("-")
        return f"{_KIND_LABELS[kind]}, {'RadCARE' if self.pretrained else start}"

    def summary(self) -> str:
        """One line for people."""
        return (
            f"CIDEr-D {_number(self.metrics['cider']['value'])}, BLEU-4 {_number(self.metrics['bleu_4']['value'])}, "
            f"{self.num_distinct} distinct reports of {self.num_studies}, {self.steps} steps"
        )


@dataclass(frozen=True, slots=True)
class Table:
    """All rows so far.

    Attributes:
        settings: what was compared.
        provenance: versions, commit, machine, command.
        rows: by seed, then in the order of ``all_systems``.
        pretraining: stage -> summary of the shared pre-training; None where a checkpoint was given, or none needed.
        num_planned: rows there will be.
    """

    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    rows: tuple[Row, ...]
    pretraining: Mapping[str, Any] | None
    num_planned: int

    @property
    def seeds(self) -> list[int]:
        """Seeds that have a row."""
        return sorted({row.seed for row in self.rows})

    @property
    def seeds_in_words(self) -> str:
        """``one seed (0)``, or how many."""
        seeds = ", ".join(map(str, self.seeds))
        return f"one seed ({seeds})" if len(self.seeds) == 1 else f"{len(self.seeds)} seeds ({seeds})"

    @property
    def trivial(self) -> Mapping[str, Mapping[str, Interval]]:
        """The trivial baselines, which all rows share."""
        return self.rows[0].trivial

    def means(self) -> dict[str, dict[str, Any]]:
        """System -> means over its seeds: scores, differences, distinct reports and steps; with two seeds or more."""
        by_system: dict[str, list[Row]] = {}
        for row in self.rows:
            by_system.setdefault(row.system, []).append(row)
        return {system: _mean(rows) for system, rows in by_system.items() if len(rows) > 1}

    def plain(self) -> dict[str, Any]:
        """The JSON."""
        rows = []
        for row in self.rows:
            values = asdict(row)
            del values["trivial"], values["signature"]
            rows.append(values)
        return {
            "complete": len(self.rows) == self.num_planned,
            "settings": dict(self.settings),
            "provenance": dict(self.provenance),
            "seeds": self.seeds,
            "signature": self.rows[0].signature,
            "pretraining": self.pretraining,
            "trivial": {name: dict(metrics) for name, metrics in self.trivial.items()},
            "rows": rows,
            "means": self.means(),
        }


def _mean(rows: Sequence[Row]) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    labels = [label for label in COMPARED if all(label in row.differences for row in rows)]
    return {
        "seeds": [row.seed for row in rows],
        "metrics": {name: mean([row.metrics[name]["value"] for row in rows]) for name in rows[0].metrics},
        "differences": {
            label: {
                name: mean([row.differences[label][name]["value"] for row in rows])
                for name in rows[0].differences[label]
            }
            for label in labels
        },
        "num_distinct": mean([row.num_distinct for row in rows]),
        "steps": mean([row.steps for row in rows]),
    }


def write_table(folder: Path, table: Table) -> None:
    """Write ``ablation.json``, ``ablation.md`` and ``ablation.html``.

    Raises:
        OutputError: they cannot be written.
    """
    write_text(folder / "ablation.json", json.dumps(table.plain(), indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "ablation.md", markdown(table))
    write_text(folder / "ablation.html", render_comparison(_comparison(table)))


# --- Markdown -----------------------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """The tables, with what a reader must know of them."""
    parts = [f"# Ablation of CMCRL\n\n*{WARNING}*\n\n{statement(table)}", _score_table(table)]
    parts += [_difference_table(table, metric) for metric in BEST_CONSTANT]
    parts.append(f"Signature: `{table.rows[0].signature}`")
    return "\n\n".join(parts) + "\n"


def statement(table: Table) -> str:
    """What was done, in a few sentences."""
    settings = table.settings
    pretraining = ""
    if table.pretraining is not None:
        steps = ", ".join(
            f"{name} {summary['steps']} of {summary['total_steps']} steps in {summary['elapsed_s'] / 60:.1f} minutes"
            for name, summary in table.pretraining.items()
        )
        pretraining = f" All RadCARE rows start from one pre-training ({steps})."
    unfinished = table.num_planned - len(table.rows)
    return (
        (f"Unfinished: {unfinished} of {table.num_planned} systems are still to come. " if unfinished else "")
        + f"{table.rows[0].num_studies} studies of `{settings['split']}`, {table.seeds_in_words}; at most "
        f"{settings['minutes']:g} minutes of fine-tuning each on {table.provenance['machine']}.{pretraining} Intervals "
        "are 95 %, over studies and not over seeds. The budget is wall-clock: a system with slower steps does fewer of "
        "them, and one that is cut short has not come to the end of its learning-rate schedule. "
        "These scores say how alike texts are, not whether a draft is right."
    )


def _score_table(table: Table) -> str:
    header = ["system", "seed", *METRICS.values(), "distinct", "steps", "epochs", "minutes", "trained weights"]
    lines = [header, ["---"] * len(header)]
    for row in table.rows:
        scores = [_cell(row.metrics.get(name)) for name in METRICS]
        steps = f"{row.steps} of {row.total_steps}"
        weights = f"{row.num_trained_weights / 1e6:.2f} M"
        counts = [str(row.num_distinct), steps, f"{row.epochs:.1f}", f"{row.minutes:.1f}", weights]
        lines.append([row.label, str(row.seed), *scores, *counts])
    labels = {row.system: row.label for row in table.rows}
    for system, mean in table.means().items():
        scores = [_number(mean["metrics"].get(name)) for name in METRICS]
        counts = [f"{mean['num_distinct']:.1f}", f"{mean['steps']:.0f}", "", "", ""]
        lines.append([labels[system], f"mean of {len(mean['seeds'])}", *scores, *counts])
    for name, metrics in table.trivial.items():
        cells = [_cell(metrics.get(metric)) for metric in METRICS]
        lines.append([_TRIVIAL_LABELS.get(name, name), "", *cells, "1" if "constant" in name else "", "", "", "", ""])
    return _table(lines)


def _difference_table(table: Table, metric: str) -> str:
    lines = [["system", "seed", *COMPARED.values()], ["---"] * (2 + len(COMPARED))]
    for row in table.rows:
        cells = [_cell(row.differences.get(label, {}).get(metric), mark=True) for label in COMPARED]
        lines.append([row.label, str(row.seed), *cells])
    labels = {row.system: row.label for row in table.rows}
    for system, mean in table.means().items():
        cells = [_number(mean["differences"].get(label, {}).get(metric)) for label in COMPARED]
        lines.append([labels[system], f"mean of {len(mean['seeds'])}", *cells])
    title = f"{METRICS[metric]}, paired differences; bold where the interval does not hold 0:"
    return f"{title}\n\n{_table(lines)}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(interval: Interval | None, *, mark: bool = False) -> str:
    """``.312 (.250 to .380)``; bold where asked for and 0 lies outside, also after rounding."""
    if interval is None:
        return ""
    text = f"{_number(interval['value'])} ({_number(interval['low'])} to {_number(interval['high'])})"
    return f"**{text}**" if mark and (round(interval["low"], 3) > 0 or round(interval["high"], 3) < 0) else text


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and text.strip("0.") else ""
    return sign + (text[1:] if text.startswith("0.") else text)


# --- the page -----------------------------------------------------------------------------------------------------


def _comparison(table: Table) -> Comparison:
    several = len(table.seeds) > 1

    def label_of(row: Row) -> str:
        return f"{row.label} · {row.seed}" if several else row.label

    def lane(row: Row, interval: Interval) -> Lane:
        # Rounded, lest an axis spread out what is nothing but floating-point noise about 0.
        value, low, high = (round(interval[end], 6) for end in ("value", "low", "high"))
        return Lane(label_of(row), value, low, high, ours=row.pretrained)

    # The seeds of a system one below the other, so that their spread is seen.
    systems = list(dict.fromkeys(row.system for row in table.rows))
    rows = sorted(table.rows, key=lambda row: systems.index(row.system))
    scores = []
    for metric, title in METRICS.items():
        lanes = [lane(row, row.metrics[metric]) for row in rows if metric in row.metrics]
        for name, metrics in table.trivial.items():
            if metric in metrics:
                interval = metrics[metric]
                label = _TRIVIAL_LABELS.get(name, name)
                lanes.append(Lane(label, interval["value"], interval["low"], interval["high"]))
        if lanes:
            scores.append((title, tuple(lanes)))
    differences = []
    for metric in BEST_CONSTANT:
        for label, words in COMPARED.items():
            shown = [row for row in rows if metric in row.differences.get(label, {})]
            if shown:
                lanes = [lane(row, row.differences[label][metric]) for row in shown]
                differences.append((f"{METRICS[metric]} {words}", tuple(lanes)))
    counted: Mapping[str, Sequence[float]] = {
        "distinct drafts": [row.num_distinct for row in rows],
        "steps within the time limit": [row.steps for row in rows],
        "minutes": [row.minutes for row in rows],
    }
    counts = [
        (title, tuple(Lane(label_of(row), n, ours=row.pretrained) for row, n in zip(rows, numbers, strict=True)))
        for title, numbers in counted.items()
    ]
    facts = {
        "command": table.provenance["command"],
        "recipe": " ".join([str(table.settings["recipe"]), *table.settings["overrides"]]),
        "version": f"{table.provenance['radwright']} ({table.provenance['commit'] or 'no commit'})",
        "machine": table.provenance["machine"],
        "signature": table.rows[0].signature,
    }
    return Comparison(
        title="Ablation of CMCRL",
        statement=statement(table).replace("`", ""),
        groups=(
            Group("Scores", "Dark: from RadCARE. Grey: from nothing, and texts that look at no image.", tuple(scores)),
            Group("Paired differences", "Better where the whole interval lies right of 0.", tuple(differences)),
            Group("What the time gave", "", tuple(counts)),
        ),
        facts=facts,
    )

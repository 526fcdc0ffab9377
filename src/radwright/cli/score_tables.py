"""How scores look in a terminal: one table with groups of rows, the many F1 as a grid, the classes behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from radwright.evaluation.bootstrap import Interval
    from radwright.evaluation.class_table import PolicyScores
    from radwright.evaluation.faithfulness import Faithful, Faithfulness
    from radwright.evaluation.score import Evaluation

_AVERAGES = {
    "micro": "micro",
    "macro": "macro, absent 0",
    "macro_supported": "macro, supported",
    "example": "example-based",
}
_COLUMNS = {
    "14 classes": ("f1_14_", ""),
    "14, open +": ("f1_14_", "_u"),
    "5 classes": ("f1_5_", ""),
    "5, open +": ("f1_5_", "_u"),
}
_SHARES = {
    "clues_asserted": "clues\nasserted",
    "negation_flips": "clues\ndenied",
    "unclued_assertions": "asserted,\nnot told",
    "precision": "clues\ntrue",
    "recall": "true ones\ntold",
}
_CLUE_COUNTS = {"told": "told", "asserted": "drafts", "true": "refs"}
_LABEL = 16
_HEADLINES = tuple(f"f1_{length}_{average}" for length in (14, 5) for average in ("micro", "macro", "example"))


def show(evaluation: Evaluation) -> None:
    """Print everything that one scoring run found."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    console.print(
        f"{len(evaluation.study_ids)} studies; value, and below it the 95 % interval; of errors, fewer are better"
    )
    columns = {"drafts": evaluation.metrics} | {
        name: baseline.metrics for name, baseline in evaluation.baselines.items()
    }
    console.print(_scores(columns))
    if evaluation.differences:
        console.print(_scores(evaluation.differences, title="drafts minus each, with the paired 95 % interval"))
    if evaluation.classes:
        console.print(_f1_grid(evaluation.metrics))
        console.print(_classes(evaluation))
    found = evaluation.diversity
    copies = "" if found.verbatim_train_share is None else f", {found.verbatim_train_share:.0%} verbatim train reports"
    console.print(
        f"{found.num_distinct} distinct drafts (references: {found.num_distinct_references}), {found.num_empty} empty"
        f"{copies}; {found.mean_words:.1f} words a draft, {found.length_ratio:.2f} x the reference"
    )
    for name, reason in evaluation.unavailable.items():
        console.print(f"{name} is missing: {escape(reason)}")
    if evaluation.without_draft or evaluation.without_reference:
        console.print(
            f"left out: {len(evaluation.without_draft)} studies without a draft, "
            f"{len(evaluation.without_reference)} drafts without a reference"
        )
    for note in evaluation.notes:
        console.print(f"note: {escape(note)}")
    console.print(f"signature: {escape(evaluation.signature)}", soft_wrap=True)


def show_faithfulness(found: Faithfulness) -> None:
    """Print what the drafts do with their clues."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    table = _table("clues and drafts; —: nothing to count")
    for column in ("", *_SHARES.values()):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("all diseases", *_share_cells(found.overall))
    console.print(table)
    table = _table("by disease: studies told of it, whose draft asserts it, whose reference does")
    table.padding = 0
    for column in ("", *_CLUE_COUNTS.values(), *_SHARES.values()):
        table.add_column(column, justify="right" if column else "left")
    for name, disease in found.diseases.items():
        counts = [str(disease.counts[count]) for count in _CLUE_COUNTS]
        table.add_row(escape(name), *counts, *(_share_cells(disease, interval=False)))
    console.print(table)
    if found.unchecked:
        console.print(f"left out, nothing can check them: {escape(', '.join(found.unchecked))}")


def _share_cells(found: Faithful, *, interval: bool = True) -> list[str]:
    cells = [_cell(found.shares[name]) for name in _SHARES]
    return cells if interval else [cell.partition("\n")[0] for cell in cells]


def _scores(columns: Mapping[str, Mapping[str, Interval]], *, title: str | None = None) -> Table:
    from rich.markup import escape

    table = _table(title)
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(escape(name.replace("_", " ", 1)), justify="right")
    names = next(iter(columns.values()))
    for heading, group in _groups(names):
        if not group:
            continue
        table.add_section()
        if heading:
            table.add_row(f"[bold]{heading}[/bold]")
        for name in group:
            table.add_row(_label(name), *(_cell(scores[name]) for scores in columns.values()))
    return table


def _label(name: str) -> str:
    """A long name on the two lines that every row has anyway."""
    return name if len(name) < _LABEL else name.replace("_", "\n", 1)


def _groups(names: Iterable[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """The rows by group; of the F1 the headlines only. Without clinical scores there is one group without a name."""
    from radwright.metrics.clinical import ClinicalF1
    from radwright.metrics.judging import ERRORS

    ngrams: list[str] = []
    findings: list[str] = []
    errors: list[str] = []
    others: list[str] = []
    for name in names:
        if name in ERRORS:
            errors.append(name)
        elif name == "finding_score" or name in _HEADLINES:
            findings.append(name)
        elif name not in ClinicalF1.names:
            (others if findings or errors else ngrams).append(name)
    if not findings and not errors:
        yield "", ngrams
        return
    yield "in words", ngrams
    yield "in findings", findings
    yield "errors a study", errors
    yield "other metrics", others


def _f1_grid(scores: Mapping[str, Interval]) -> Table:
    table = _table("F1 of CheXpert's observations; open +: open findings count too")
    table.add_column("", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for average, meaning in _AVERAGES.items():
        table.add_row(meaning, *(_cell(scores[f"{start}{average}{end}"]) for start, end in _COLUMNS.values()))
    return table


def _classes(evaluation: Evaluation) -> Table:
    table = _table("by class: references and drafts that assert it; +: open findings too")
    table.padding = 0
    for column in ("", "refs", "drafts", "prec.", "recall", "F1", "refs+", "drafts+", "F1+"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for found in evaluation.classes:
        table.add_row(
            found.name,
            *_class_cells(found.open_negative, "precision", "recall", "f1"),
            *_class_cells(found.open_positive, "f1"),
        )
    return table


def _class_cells(scores: PolicyScores, *names: str) -> list[str]:
    """A dash stands for a score that there is nothing to compute from."""
    empty = {
        "precision": not scores.asserted,
        "recall": not scores.support,
        "f1": not scores.asserted and not scores.support,
    }
    cells = ["–" if empty[name] else f"{getattr(scores, name).value:.2f}" for name in names]
    return [str(scores.support), str(scores.asserted), *cells]


def _table(title: str | None) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")


def _cell(interval: Interval) -> str:
    if interval.value != interval.value:
        return "—"  # not a number: there is nothing to score
    digits = 1 if abs(interval.value) >= 10 else 3
    return f"{interval.value:.{digits}f}\n[dim]{interval.low:.{digits}f}–{interval.high:.{digits}f}[/dim]"

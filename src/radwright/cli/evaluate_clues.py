"""``radwright evaluate-clues``: how right a checkpoint's clues are, as a table and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from radwright.evaluation.bootstrap import Interval
    from radwright.evaluation.clues import ClueEvaluation

_NAME = 17
"""Characters of a name on one line; the intervals take a second one anyway."""


def evaluate_clues(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best, RUN/stages/alignment/best)."),
    data: Path = typer.Argument(..., metavar="STORE", help="Prepared store."),
    split: str = typer.Option(..., help="Split to perceive: train, tune, val or test."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for numbers, probabilities and page."),
    labels: Path | None = typer.Option(
        None, "--labels", metavar="FILE.csv", help="Labels; default: the labeler's reading of the store's reports."
    ),
    min_positives: int = typer.Option(
        10, "--min-positives", min=1, help="Positives, and negatives, that a disease needs to count in the macro."
    ),
    bank: Path | None = typer.Option(None, "--bank", metavar="FILE.yaml", help="Perceive these diseases instead."),
    batch_size: int = typer.Option(16, min=1, help="Studies that go through the network at once."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Perceive every study of a split and hold the diseases against labels: AUC, F1 and calibration, with intervals.

    DIR gets clues.json, clues.csv (all probabilities) and index.html. Labels: a row per study (or patient) named in the
    first column, a column per disease: 1 present, 0 or blank absent, -1 left open (left out).
    """
    from rich.console import Console

    from radwright.cli.progress import progress_bar, say
    from radwright.runs.clues import ClueRequest, run_clue_evaluation

    request = ClueRequest(
        checkpoint=checkpoint,
        data=data,
        split=split,
        out=out,
        labels=labels,
        bank=bank,
        min_positives=min_positives,
        device=device,
        threads=threads,
        batch_size=batch_size,
    )
    result = run_clue_evaluation(request, show_progress=lambda what, total: progress_bar(what, total=total))
    if as_json:
        print(json.dumps(result.plain(), ensure_ascii=False))
        return
    evaluation = result.evaluation
    console = Console()
    say(f"{evaluation.num_studies} studies against {result.labels.told}")
    console.print(_table(evaluation))
    if any(not disease.calibrated for disease in evaluation.diseases):
        say("* no calibrated threshold: 0.5 stands for it")
    for name, reason in evaluation.not_checkable.items():
        say(f"not checkable: {name}: {reason}")
    for note in result.notes:
        say(f"note: {note}")
    for study_id, reason in list(result.skipped.items())[:5]:
        say(f"  skipped {study_id}: {reason}")
    say("Research only: not a medical device; a clue is a guess, no diagnosis.")
    say(str(result.page.resolve()))


def _table(evaluation: ClueEvaluation) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    need = f"dim: fewer than {evaluation.min_positives} positives or negatives, not in the macro"
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, caption=need, caption_justify="left")
    table.add_column("", min_width=_NAME)
    for heading in ("known", "pos.", "AUC", "F1", "prec.", "recall", "thresh.", "ECE"):
        table.add_column(heading, justify="right", no_wrap=True)
    for disease in evaluation.diseases:
        table.add_row(
            escape(disease.name),
            str(disease.num_studies),
            str(disease.num_positives),
            _scored(disease.auc),
            _scored(disease.f1),
            _number(disease.precision),
            _number(disease.recall),
            f"{disease.threshold:.2f}{' ' if disease.calibrated else '*'}",
            _number(disease.calibration_error),
            style=None if disease.in_macro else "dim",
        )
    table.add_section()
    table.add_row(f"macro over {len(evaluation.in_macro)}", "", "", _scored(evaluation.auc), _scored(evaluation.f1))
    return table


def _scored(interval: Interval) -> str:
    if interval.value != interval.value:
        return "—"  # not a number: there is nothing to score
    ends = "" if interval.low != interval.low else f"\n[dim]{interval.low:.2f}–{interval.high:.2f}[/dim]"
    return f"{interval.value:.3f}{ends}"


def _number(value: float) -> str:
    return "—" if value != value else f"{value:.2f}"

"""``radwright compare``: two systems' drafts of the same studies, with intervals, p-values and a verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from radwright.evaluation.comparison import Comparison, ScoreComparison


def compare(
    first: Path = typer.Argument(..., metavar="A", help="A's drafts: JSONL with study_id and report."),
    second: Path = typer.Argument(..., metavar="B", help="B's drafts of the same studies."),
    references: Path = typer.Option(..., "--references", help="JSONL with study_id and report, or annotation.json."),
    split: str | None = typer.Option(None, help="Compare on this split of the references."),
    names: tuple[str, str] | None = typer.Option(
        None, "--names", help="What to call A and B (two words); the files' names where it is left out."
    ),
    train: Path | None = typer.Option(
        None, "--train", help="Train reports (split train, where the file has splits), for <unk> words."
    ),
    convention: str = typer.Option("report", help="report, r2gen-iu, r2gen-mimic or raw."),
    metrics: str | None = typer.Option(
        None,
        "--metrics",
        help="Metrics, separated by commas, all of whose scores are compared; else bleu_1, bleu_4, rouge_l, cider, "
        "meteor15_es, chrf, f1_14_micro, f1_14_example, f1_5_micro, fabricated, missed, finding_score.",
    ),
    level: float = typer.Option(0.05, help="Probability of calling any score different where none differs."),
    json_out: Path | None = typer.Option(None, "--json", help="JSON to write."),
    allow_missing: bool = typer.Option(
        False,
        "--allow-missing",
        help="Compare on the studies that have both drafts and a reference; the signature says so.",
    ),
    resamples: int = typer.Option(1000, min=1, help="Bootstrap resamples over studies, for the intervals."),
    permutations: int = typer.Option(10_000, min=1, help="Random swaps of the two systems' drafts, for p."),
    seed: int = typer.Option(0, min=0, help="Seed of the resamples and the swaps."),
) -> None:
    """Compare two systems on the same studies: which is better on which scores, and where that cannot be told.

    Differences are B minus A. p is that of approximate randomisation; a verdict is given on p corrected for all scores
    compared (Holm), so that with two equal systems any verdict at all comes up at most once in twenty times.

    N-gram scores say how alike texts are, not whether a draft is right: a radiologist must check every draft.
    """
    from radwright.data.files import prepare_outputs
    from radwright.errors import ScoringError
    from radwright.evaluation.comparison import compare as compare_texts
    from radwright.evaluation.reports import read_reports

    if first.exists() and second.exists() and first.samefile(second):
        raise ScoringError(f"{first}: is given as A and as B; give two systems' files of drafts")
    chosen = None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]
    prepare_outputs((json_out,), (first, second, references, train))
    first_file, second_file, reference_file = (read_reports(path) for path in (first, second, references))
    comparison = compare_texts(
        first_file.reports(),
        second_file.reports(),
        reference_file.reports(split),
        names=names or _names(first, second),
        convention=convention,
        train=None if train is None else read_reports(train).train_reports(),
        priors=reference_file.priors(),
        allow_missing=allow_missing,
        metrics=None if chosen is None else dict.fromkeys(chosen),
        level=level,
        num_resamples=resamples,
        num_permutations=permutations,
        seed=seed,
    )
    comparison = replace(comparison, notes=(*first_file.notes, *second_file.notes, *comparison.notes))
    if json_out is not None:
        _write(comparison, json_out)
    _show(comparison)


def _names(first: Path, second: Path) -> tuple[str, str]:
    """The files' names, or their whole paths where those are equal."""
    return (first.stem, second.stem) if first.stem != second.stem else (str(first), str(second))


def _write(comparison: Comparison, path: Path) -> None:
    import json

    from radwright.data.files import atomic_file

    with atomic_file(path) as file:
        file.write((json.dumps(comparison.plain(), ensure_ascii=False, indent=1) + "\n").encode())


def _show(comparison: Comparison) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    a, b = map(escape, comparison.names)
    console.print(f"{len(comparison.study_ids)} studies; A = {a}, B = {b}; differences are B minus A", soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in ("A", "B", "B − A\n95 % interval", "p", "p, Holm"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    for name, found in comparison.scores.items():
        table.add_row(name if found.higher_is_better else f"{name}\n[dim]lower is better[/dim]", *_cells(found))
    console.print(table)
    for name, reason in comparison.unavailable.items():
        console.print(f"{name} is missing: {escape(reason)}")
    if comparison.left_out:
        console.print(f"left out: {len(comparison.left_out)} studies without both drafts and a reference")
    for note in comparison.notes:
        console.print(f"note: {escape(note)}", soft_wrap=True)
    console.print(f"signature: {escape(comparison.signature)}", soft_wrap=True)
    console.print(f"[bold]{escape(comparison.conclusion)}[/bold]", soft_wrap=True)


def _cells(found: ScoreComparison) -> list[str]:
    digits = 1 if max(abs(found.a), abs(found.b)) >= 10 else 3
    difference = found.difference
    interval = f"{difference.low:+.{digits}f} to {difference.high:+.{digits}f}"
    verdict = {None: "—", True: "B", False: "A"}[found.b_is_better]
    return [
        f"{found.a:.{digits}f}",
        f"{found.b:.{digits}f}",
        f"{difference.value:+.{digits}f}\n[dim]{interval}[/dim]",
        f"{found.p_value:.4f}",
        f"{found.adjusted_p:.4f}",
        verdict,
    ]

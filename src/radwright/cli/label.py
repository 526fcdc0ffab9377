"""``radwright label``: what reports assert, deny and leave open, as a table."""

from __future__ import annotations

from pathlib import Path

import typer


def label(
    reports: Path = typer.Argument(
        ..., help="JSONL or CSV with study_id and report, R2Gen's annotation.json, or .txt with a report a line."
    ),
    out: Path = typer.Option(..., "--out", help="CSV to write: study_id, then a column per class."),
    classes: str = typer.Option(
        "chexpert", "--classes", help="chexpert (14 observations) or nih (14 classes, normal)."
    ),
    spans: bool = typer.Option(False, "--spans", help="Also write OUT.spans.jsonl: the words behind every label."),
    split: str | None = typer.Option(None, help="Label this split of the file only."),
) -> None:
    """Label reports with a rule-based reader: 1 asserted, 0 denied, -1 left open, empty where nothing is said.

    No weights, no network. Labels are made by rules from the text alone; check them before you rely on them.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from radwright.cli.progress import progress_bar
    from radwright.data.files import prepare_outputs
    from radwright.evaluation.labels import SPANS_SUFFIX, find_class_list, label_to_file
    from radwright.evaluation.reports import read_reports

    chosen = find_class_list(classes)
    prepare_outputs((out, out.with_name(out.name + SPANS_SUFFIX) if spans and out.name else None), (reports,))
    file = read_reports(reports)
    chosen_ids = file.reports(split)
    rows = [row for row in file.rows if row.study_id in chosen_ids]
    with progress_bar("labelling", total=len(rows)) as bar:
        summary = label_to_file(rows, out, classes=chosen, spans=spans, on_progress=bar.advance)
    table = Table(box=SIMPLE_HEAD)
    for heading in ("", "asserted", "left open", "denied"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, counts in summary.counts.items():
        table.add_row(name, *(str(counts.get(value, 0)) for value in (1, -1, 0)))
    console = Console()
    console.print(table)
    beside = f"; the words behind them in {out}{SPANS_SUFFIX}" if spans else ""
    empty = f"; {summary.num_empty} of them without a sentence" if summary.num_empty else ""
    console.print(f"{summary.num_reports} reports labelled in {out}{empty}{beside}", markup=False, soft_wrap=True)

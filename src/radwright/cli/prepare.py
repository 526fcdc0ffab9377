"""``radwright prepare``: a dataset becomes a prepared store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer


def prepare(
    source: str = typer.Argument(..., metavar="SOURCE", help="Folder, archive or table of the dataset; some by URL."),
    format: str = typer.Option(
        ...,
        "--format",
        metavar="F",
        help="r2gen, openi, mimic-cxr, covid-chestxray, table, parquet, phantom, or module:Class.",
    ),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder of the store; nothing is written elsewhere."),
    target: str = typer.Option("findings", help="What a report is: findings, impression or findings+impression."),
    workers: int | None = typer.Option(None, min=1, help="Processes; default: all cores."),
    column: list[str] = typer.Option(
        [], "--column", metavar="NAME=COLUMN", help="For --format table, e.g. image=filename, view=projection."
    ),
    option: list[str] = typer.Option([], "--option", metavar="KEY=VALUE", help="An option of the format."),
    as_split: str | None = typer.Option(None, help="Put every study into this split: train, tune, val or test."),
    limit: int | None = typer.Option(None, min=1, help="Take the first N studies only."),
    allow_patient_overlap: bool = typer.Option(
        False, "--allow-patient-overlap", help="Go on where a patient is in two splits."
    ),
    keep_without_report: bool = typer.Option(
        False, "--keep-without-report", help="Keep studies whose report is empty."
    ),
    keep_without_image: bool = typer.Option(
        False, "--keep-without-image", help="Keep studies that have a report but no image."
    ),
    licence: str | None = typer.Option(None, help="The dataset's licence, for the cards of models trained on it."),
    engine: str = typer.Option("local", help="local: --workers processes here; ray: this machine or a Ray cluster."),
    cluster: list[str] = typer.Option(
        [], "--cluster", metavar="KEY=VALUE", help="For --engine ray: address, workers, cpus."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Turn a dataset into a prepared store; interrupted, the same command goes on where it stopped.

    A study that cannot be used is left out and listed with its reason in DIR/skipped.jsonl; the exit status is 0 then,
    and the summary says how many. Where no study can be used, and where patients are in two splits, it is 1.
    """
    from radwright.cli.cluster import cluster_of
    from radwright.cli.progress import progress_bar
    from radwright.data.prepare import PrepareConfig
    from radwright.data.prepare import prepare as prepare_store
    from radwright.data.remote import place_of

    values = {
        "format": format,
        "options": _options(column, option),
        "target": target,
        "as_split": as_split,
        "limit": limit,
        "allow_patient_overlap": allow_patient_overlap,
        "keep_without_report": keep_without_report,
        "keep_without_image": keep_without_image,
        "licence": licence,
        "workers": workers or _num_cores(),
    }
    config = PrepareConfig.parse(values, where="radwright prepare")
    place, joined, write = place_of(source), cluster_of(engine, cluster), None
    if joined is not None:
        from radwright.scale.preparing import prepare_on_cluster

        write = partial(prepare_on_cluster, cluster=joined)
        place = place.resolve() if isinstance(place, Path) and place.exists() else place
    with progress_bar("preparing", total=None) as bar:

        def show(done: int, total: int, skipped: int) -> None:
            bar.show(done, total)

        summary = prepare_store(place, out, config, on_progress=show, write=write)
    if as_json:
        print(json.dumps({"out": str(out), **summary}))
    else:
        _print_summary(out, summary)


def _options(columns: list[str], options: list[str]) -> dict[str, Any]:
    from radwright.config import apply_overrides
    from radwright.errors import ConfigError

    values = apply_overrides({}, options)
    for text in columns:
        name, equals, column = text.partition("=")
        if not (equals and name and column):
            raise ConfigError(f"--column {text!r}: write it as NAME=COLUMN, e.g. image=filename")
        values.setdefault("columns", {})[name] = column
    return values


def _num_cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _print_summary(out: Path, summary: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("split", "studies", "patients", "views", "words (median, max)", "reports also in train", box=None)
    for name, split in summary["splits"].items():
        words = split["report_words"]
        repeated = split.get("reports_also_in_train")
        table.add_row(
            name,
            str(split["studies"]),
            str(split["patients"]),
            str(split["views"]),
            f"{words['median']}, {words['max']}",
            "" if repeated is None else f"{repeated} ({repeated / max(1, split['reports']):.0%})",
        )
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"{_count(summary['studies'], 'study', 'studies')} in {out}", highlight=False)
    if any(count for half, count in summary["halves"].items() if half.endswith("only")):
        halves = ", ".join(f"{count} with {half}" for half, count in summary["halves"].items())
        console.print(f"of these {halves}", highlight=False)
    if summary["views_left_out"]:
        images = _count(summary["views_left_out"], "known bad image", "known bad images")
        console.print(f"{images} left out, study by study in {out / 'skipped.jsonl'}", highlight=False)
    if summary.get("burned_in"):
        studies = _count(summary["burned_in"], "study has", "studies have")
        console.print(
            f"note: {studies} text written into the pixels (BurnedInAnnotation is YES): it may name the patient, and "
            "the network sees it",
            highlight=False,
        )
    if summary["skipped"]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in summary["skipped_by_kind"].items())
        skipped = _count(summary["skipped"], "study", "studies")
        console.print(f"{skipped} skipped ({kinds}): see {out / 'skipped.jsonl'}", highlight=False)
    overlap = summary["patients_across_splits"]
    if overlap["patients"]:
        patients = _count(overlap["patients"], "patient is", "patients are")
        console.print(f"{patients} in more than one split (allowed): scores will be too good")
    for note in summary.get("notes", ()):
        console.print(f"note: {note}", highlight=False, markup=False)
    if summary["resumed_from"] == summary["studies"] + summary["skipped"]:
        console.print("it was complete already, and its checksums are right", highlight=False)

"""``radwright clues``: which diseases a checkpoint perceives in images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from radwright.runs.clues import PerceivedClue


def clues(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best, RUN/stages/alignment/best)."),
    inputs: list[Path] = typer.Argument(
        ..., metavar="IMAGE...", help="Images (PNG, JPEG, DICOM), folders, zip archives, or one prepared store."
    ),
    bank: Path | None = typer.Option(None, "--bank", metavar="FILE.yaml", help="Perceive these diseases instead."),
    split: str | None = typer.Option(None, help="Split of a prepared store: train, tune, val or test."),
    limit: int | None = typer.Option(None, min=1, help="The first N studies only."),
    together: bool = typer.Option(False, "--together", help="All images given are views of one study."),
    batch_size: int = typer.Option(16, min=1, help="Studies that go through the network at once."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    """Perceive the diseases of a checkpoint's bank, or of another one, in images.

    Clues are what the checkpoint would be told of the image, by its own policy: as a rule every disease above its
    threshold. For research: a clue is a guess that helps to write a draft, no diagnosis.
    """
    from rich.console import Console

    from radwright.cli.progress import say
    from radwright.runs.clues import bank_facts, open_perceiver, sorted_clues
    from radwright.runs.drafting import find_inputs
    from radwright.types import Skipped

    studies = find_inputs(inputs, split=split, limit=limit, together=together)
    perceiver = open_perceiver(checkpoint, bank=bank, device=device, threads=threads, batch_size=batch_size)
    perceived: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    console = Console()
    for outcome in perceiver.perceive(studies[place] for place in range(len(studies))):
        if isinstance(outcome, Skipped):
            skipped.append(outcome)
            continue
        study_id, probability_M = outcome
        found = sorted_clues(perceiver.bank, probability_M, perceiver.chosen(study_id, probability_M))
        perceived.append({"study_id": study_id, "clues": [clue.plain() for clue in found]})
        if not as_json:
            console.print(_table(study_id, found))
    if as_json:
        facts = {
            "checkpoint": str(checkpoint),
            "weights": perceiver.fingerprint,
            "bank": bank_facts(perceiver.bank, bank),
            "studies": perceived,
            "notes": list(studies.notes),
            "skipped": {study.study_id: study.reason for study in skipped},
        }
        print(json.dumps(facts, ensure_ascii=False))
    else:
        if any(disease.threshold is None for disease in perceiver.bank.diseases):
            say("* no calibrated threshold: 0.5 stands for it")
        say("no study could be read" if not perceived else f"skipped: {len(skipped)}")
        for study in skipped[:10]:
            say(f"  skipped {study.study_id}: {study.reason}")
        if len(skipped) > 10:
            say("  ... --json names all of them")
        for note in studies.notes:
            say(f"note: {note}")
        say("Research only: not a medical device; a clue is a guess, no diagnosis.")
    if not perceived:
        raise typer.Exit(1)


def _table(study_id: str, found: list[PerceivedClue]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, title=escape(study_id), title_justify="left", title_style="bold")
    table.add_column("disease")
    for heading in ("probability", "threshold"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("clue")
    for clue in found:
        table.add_row(
            escape(clue.disease),
            f"{clue.probability:.3f}",
            f"{clue.threshold:.3f}{' ' if clue.calibrated else '*'}",
            "yes" if clue.chosen else "",
            style="bold" if clue.chosen else None,
        )
    return table

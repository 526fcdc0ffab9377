"""``radwright evaluate-evidence``: how well a checkpoint's evidence points at findings, on the phantom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from radwright.evaluation.bootstrap import Interval
    from radwright.evaluation.evidence import EvidenceEvaluation


def evaluate_evidence(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best) of a run on the phantom."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for rows, scores and page."),
    studies: int = typer.Option(100, "--studies", min=1, help="Phantom studies to draft and judge."),
    phantom: str = typer.Option(
        "quickstart", "--phantom", metavar="CONFIG.yaml", help="Population; quickstart: that of radwright demo."
    ),
    split: str = typer.Option("test", help="Its split: train, tune, val or test."),
    steps: int = typer.Option(10, "--steps", min=2, help="Steps of a deletion curve."),
    windows: int | None = typer.Option(None, "--windows", min=1, max=64, help="Windows per side that are hidden."),
    batch_size: int = typer.Option(32, min=1, help="Images that go through the network at once."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    decoding: list[str] = typer.Option([], "--decoding", metavar="KEY=VALUE", help="As in radwright generate."),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Judge attention and occlusion maps by the phantom's masks: pointing game and deletion curve, with intervals.

    DIR gets index.html, evidence.json and studies.jsonl. Interrupted, the same command goes on where it stopped.
    """
    from rich.console import Console

    from radwright.cli.progress import progress_bar, say
    from radwright.errors import ConfigError, near
    from radwright.runs.evidence import EvidenceRequest, run_evidence_evaluation
    from radwright.types import SPLITS

    if split not in SPLITS:
        raise ConfigError(f"--split {split}: no such split{near(split, SPLITS)}; there are {', '.join(SPLITS)}")
    request = EvidenceRequest(
        checkpoint=checkpoint,
        out=out,
        num_studies=studies,
        phantom=phantom,
        split=split,
        num_steps=steps,
        windows_per_side=windows,
        decoding=tuple(decoding),
        device=device,
        threads=threads,
        batch_size=batch_size,
    )
    result = run_evidence_evaluation(request, show_progress=lambda what, total: progress_bar(what, total=total))
    if as_json:
        print(json.dumps(result.plain(), ensure_ascii=False))
        return
    found, console = result.evaluation, Console()
    say(
        f"{found.num_studies} phantom studies" + (f", {result.num_resumed} judged before" if result.num_resumed else "")
    )
    console.print(_maps(found))
    console.print(_kinds(found))
    say("* a map that has seen no image of the study: it says what can be had without looking")
    for note in result.notes:
        say(f"note: {note}")
    for study_id, reason in list(result.skipped.items())[:5]:
        say(f"  skipped {study_id}: {reason}")
    say("Research only, synthetic images: not a medical device.")
    say(str(result.page.resolve()))


def _maps(found: EvidenceEvaluation) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from radwright.evaluation.evidence import MAP_NAMES, MEASURE_NAMES

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("map", min_width=15)
    for heading in MEASURE_NAMES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for scores in found.maps:
        cells = (_scored(scores.scores[measure]) for measure in MEASURE_NAMES)
        table.add_row(
            MAP_NAMES.get(scores.name, scores.name), *cells, style="dim" if scores.name in MAP_NAMES else None
        )
    table.add_section()
    table.add_row(
        "chance", *(f"{found.chance[measure]:.3f}" if measure in found.chance else "" for measure in MEASURE_NAMES)
    )
    return table


def _kinds(found: EvidenceEvaluation) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from radwright.evaluation.evidence import MAP_NAMES

    # By finding, chance says what a random map scores.
    names = [scores.name for scores in found.maps if scores.name not in {"perfect", "random"}]
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, title="pointing by finding", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("views", "chance", *(MAP_NAMES.get(name, name) for name in names)):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind, values in found.kinds.items():
        cells = (f"{values[name]:.2f}" for name in ("chance", *names))
        table.add_row(kind.replace("_", " "), str(int(values["num_places"])), *cells)
    return table


def _scored(interval: Interval) -> str:
    return f"{interval.value:.3f}\n[dim]{interval.low:.3f}–{interval.high:.3f}[/dim]"

"""``radwright explain``: what every sentence of a study's draft rests on, as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from radwright.runs.explain import Explained


def explain(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best)."),
    inputs: list[Path] = typer.Argument(
        ...,
        metavar="STUDY...",
        help="Images (PNG, JPEG, DICOM; views of one study), a folder, a zip archive, or a prepared store.",
    ),
    out: Path = typer.Option(..., "--out", metavar="PAGE.html", help="Page to write."),
    replace: bool = typer.Option(
        False, "--replace", help="Replace PAGE whatever it is, not only an earlier such page."
    ),
    study: str | None = typer.Option(None, "--study", metavar="ID", help="Which study, where there are several."),
    windows: int | None = typer.Option(None, "--windows", min=1, max=64, help="Windows per side that are hidden."),
    batch_size: int = typer.Option(32, min=1, help="Images that go through the network at once."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    decoding: list[str] = typer.Option([], "--decoding", metavar="KEY=VALUE", help="As in radwright generate."),
    as_json: bool = typer.Option(False, "--json", help="Print the numbers as JSON."),
) -> None:
    """Draft one study and show per sentence where the network looked, what it rests on, and what clues do to it.

    Research only. Evidence says what the network drew on, not that a sentence is right; a radiologist must check it.
    """
    from rich.console import Console

    from radwright.cli.progress import progress_bar, say
    from radwright.data.images import NOTES
    from radwright.data.loading import choose_views
    from radwright.runs.evidence import open_explainer
    from radwright.runs.explain import explain_study, find_study, told_left_out

    chosen = find_study(inputs, study)
    explainer = open_explainer(
        checkpoint,
        device=device,
        threads=threads,
        batch_size=batch_size,
        decoding=decoding,
        windows_per_side=windows,
    )
    num_views = len(choose_views(chosen.views, explainer.checkpoint.config.max_views))
    total = 1 + num_views * explainer.occlusion.windows_per_side**2
    with progress_bar("hiding windows", total=total, unit="images") as bar:
        result = explain_study(explainer, chosen, out, replace=replace, on_images=bar.advance)
    if as_json:
        print(json.dumps(result.plain(), ensure_ascii=False))
        return
    Console().print(_table(result))
    say(f"views: {', '.join(result.views)}")
    if result.left_out:
        say(f"note: {told_left_out(result.views, result.left_out)}")
    for note in chosen.extra.get(NOTES, ()):
        say(f"note: {note}")
    say("Research only: not a medical device. Evidence says what the network drew on, not that a sentence is right.")
    say(str(out.resolve()))


def _table(result: Explained) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    told = any(one.clues for one in result.evidence.sentences)
    table = Table(box=SIMPLE_HEAD, title=escape(result.evidence.report.study_id), title_justify="left")
    table.add_column("sentence")
    table.add_column("log p", justify="right", no_wrap=True)
    table.add_column("rests most on")
    if told:
        table.add_column("clue with most effect")
    for one in result.evidence.sentences:
        most = result.strongest(one.occlusion_VSS.numpy())
        cells = [escape(one.sentence.text), f"{one.log_prob:.2f}", escape(f"{most['value']:+.2f} nats, {most['view']}")]
        if told:
            cells.append(f"{escape(one.clues[0].disease)}, {one.clues[0].effect:+.2f}" if one.clues else "")
        table.add_row(*cells)
    return table

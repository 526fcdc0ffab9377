"""``radwright calibrate``: how sure a checkpoint is of what it asserts, and from which bar on it may say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from radwright.runs.calibration import CalibrationResult


def calibrate(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best)."),
    data: Path = typer.Argument(..., metavar="STORE", help="Prepared store."),
    split: str = typer.Option(..., help="Split to take the studies from: val, test or tune, never train."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for drafts, numbers and page."),
    check: bool = typer.Option(
        False, "--check", help="Hold the calibration that is there against the split's other studies."
    ),
    share: float = typer.Option(0.5, help="Share of the split's patients that calibrates, by a hash; 1: all."),
    fit_share: float = typer.Option(0.5, "--fit-share", help="Of them, share that fits the probabilities."),
    levels: str = typer.Option("0.01,0.02,0.05,0.1,0.15,0.2,0.3", help="Levels of the table."),
    replace: bool = typer.Option(False, "--replace", help="Replace an earlier calibration of this checkpoint."),
    limit: int | None = typer.Option(None, min=1, help="Take the split's first N studies only."),
    batch_size: int = typer.Option(16, min=1, help="Studies decoded at once."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    decoding: list[str] = typer.Option(
        [], "--decoding", metavar="KEY=VALUE", help="As generate will be called: other decodings have other bars."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Calibrate a checkpoint's silence: which of its sentences may stand at which level of risk.

    The studies serve nothing else from then on. CHECKPOINT gets silence.json, which `generate --risk` reads; DIR gets
    drafts.jsonl, calibration.json and index.html. Interrupted, the same command goes on where it stopped.
    """
    from rich.console import Console

    from radwright.cli.progress import progress_bar, say
    from radwright.runs.calibration import CalibrationRequest, run_calibration

    request = CalibrationRequest(
        checkpoint=checkpoint,
        data=data,
        split=split,
        out=out,
        check=check,
        share=share,
        fit_share=fit_share,
        levels=tuple(_level(text) for text in levels.split(",") if text.strip()),
        replace=replace,
        limit=limit,
        device=device,
        threads=threads,
        batch_size=batch_size,
        decoding=tuple(decoding),
    )
    result = run_calibration(request, show_progress=lambda what, total: progress_bar(what, total=total))
    if as_json:
        print(json.dumps(result.plain(), ensure_ascii=False))
        return
    counts, found = result.values["unfiltered"], result.values["calibration"]
    studies = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in result.values["studies"].items())
    say(f"{studies}; unfiltered, {_share(counts['risk'])} of the drafts fabricate")
    say(
        f"{counts['right']} of {counts['asserted']} asserted findings are right; probabilities: "
        f"AUC {_number(found['auc'])}, calibration error {_number(found['error'])}, Brier {_number(found['brier'])} "
        f"(of the mean alone {_number(found['brier_of_share'])})"
    )
    Console().print(_table(result, check))
    if result.values["alarm"]:
        say(f"ALARM: {result.values['alarm']}")
    for note in result.notes:
        say(f"note: {note}")
    if result.num_resumed:
        say(f"{result.num_resumed} of the drafts were there from an earlier call")
    for study_id, reason in list(result.skipped.items())[:5]:
        say(f"  skipped {study_id}: {reason}")
    say("Research only: not a medical device, a radiologist must check every draft, also what is not marked.")
    say(str(result.page.resolve()))


def _level(text: str) -> float:
    from radwright.errors import ConfigError

    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--levels: {text.strip()!r} is no number; give shares of studies, 0.05,0.1") from error


def _table(result: CalibrationResult, check: bool) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    told = (
        "true kept: share of the true findings that stands at the bar; risk: share of studies with a fabrication, 95 % "
        "interval; chance: of so many losses or more, were these studies like those that set the bars"
        if check
        else "true kept: share of these studies' true findings that stands at the bar. On the right, means over 200 "
        "halvings of these studies, bars from one half, the other filtered: risk (share of studies with a fabrication, "
        "± 2 standard errors), true findings kept by this filter, by one that knows names only, by a random one"
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=told, caption_justify="left")
    heads = ["risk", "", "random", "chance"] if check else ["halves:\nrisk", "", "\nkept", "\nby name", "\nrandom"]
    for heading in ("level", "bar", "true kept", *heads):
        table.add_column(heading, justify="right", vertical="bottom")
    for row in result.rows:
        shares = [row.random_kept] if check else [row.halved_kept, row.by_name_kept, row.random_kept]
        table.add_row(
            f"{row.level:g}",
            f"{row.bar:.3f}" if row.reachable else "silence",
            _share(row.kept),
            _share(row.risk),
            f"{100 * row.low:.1f}–{100 * row.high:.1f}" if row.low == row.low else "",
            *(_share(share) for share in shares),
            *([f"{row.chance:.3f}"] if check else []),
        )
    return table


def _share(value: float | None) -> str:
    return "—" if value is None or value != value else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "—" if value is None or value != value else f"{value:.3f}"

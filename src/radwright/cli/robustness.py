"""``radwright robustness``: what blur, noise, missing views, another source ... cost a checkpoint, as a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from radwright.evaluation.outside import OutsideScores, Share
    from radwright.evaluation.robustness import ConditionScores, RobustnessCard


def robustness(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best)."),
    data: Path = typer.Argument(..., metavar="STORE", help="Prepared store."),
    split: str = typer.Option(..., help="Split to draft: train, tune, val or test."),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder for drafts, card and page."),
    conditions: str = typer.Option(
        "",
        "--conditions",
        metavar="NAME,...",
        help="blur, noise=0.05, low_dose, contrast, rotation, crop, inversion, missing_lateral, missing_frontal, "
        "swapped_views; default: all.",
    ),
    seed: int = typer.Option(0, "--seed", help="Of noise, and of the sides that rotation and crop take."),
    labels: Path | None = typer.Option(
        None, "--labels", metavar="FILE.csv", help="Labels of perceived diseases; default: the labeler's reading."
    ),
    min_positives: int = typer.Option(
        10, "--min-positives", min=1, help="Positives, and negatives, that a disease needs to count in the AUC."
    ),
    other: Path | None = typer.Option(None, "--other", help="Another source with labels: a dataset, or a store."),
    format: str | None = typer.Option(None, "--format", metavar="F", help="Of --other, e.g. covid-chestxray."),
    option: list[str] = typer.Option([], "--option", metavar="KEY=VALUE", help="An option of that format."),
    labels_map: Path | None = typer.Option(
        None, "--labels-map", metavar="FILE.toml", help="What the labels of --other mean; default: the built-in map."
    ),
    into_card: bool = typer.Option(False, "--into-card", help="Put a summary into the checkpoint's MODEL_CARD.md."),
    limit: int | None = typer.Option(None, min=1, help="The first N studies only, of --other too."),
    batch_size: int = typer.Option(16, min=1, help="Studies decoded at once."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    decoding: list[str] = typer.Option(
        [], "--decoding", metavar="KEY=VALUE", help="E.g. strategy.num_beams=1, max_tokens=80."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the card as JSON."),
) -> None:
    """Draft a split as it is and with images that are blurred, noisy, cropped, ..., and score the drafts in pairs.

    DIR gets robustness.json, robustness.md, index.html and every draft. Interrupted, the same command goes on where it
    stopped; called with further conditions, it drafts only these. Research only: a radiologist must check every draft.
    """
    from rich.console import Console

    from radwright.cli.progress import progress_bar, say
    from radwright.config import apply_overrides
    from radwright.runs.robustness import RobustnessRequest, run_robustness

    request = RobustnessRequest(
        checkpoint=checkpoint,
        data=data,
        split=split,
        out=out,
        conditions=tuple(dict.fromkeys(name.strip() for name in conditions.split(",") if name.strip())),
        seed=seed,
        labels=labels,
        min_positives=min_positives,
        other=other,
        format=format,
        options=apply_overrides({}, option),
        labels_map=labels_map,
        into_card=into_card,
        limit=limit,
        device=device,
        threads=threads,
        batch_size=batch_size,
        decoding=tuple(decoding),
    )
    result = run_robustness(request, show_progress=lambda what, total: progress_bar(what, total=total))
    if as_json:
        print(json.dumps(result.plain(), ensure_ascii=False))
        return
    card, console = result.card, Console()
    say(card.data)
    console.print(_table(card))
    if card.outside is not None:
        console.print(_outside(card.outside))
    for note in card.notes:
        say(f"note: {note}")
    if result.num_resumed:
        say(f"{result.num_resumed} of the drafts were there from an earlier call")
    say("Research only: not a medical device, a radiologist must check every draft.")
    say(str(result.page.resolve()))


_HEADINGS = {
    "finding_score": "finding\nscore",
    "f1_14_micro": "F1, 14\nmicro",
    "fabricated": "fabric-\nated",
    "missed": "missed",
    "cider": "CIDEr-D",
    "auc_macro": "AUC of\nclues",
}


def _table(card: RobustnessCard) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    caption = (
        "Below each score its difference from clean, with the paired 95 % interval; *: the interval lies wholly on the "
        "bad side of 0. Below the clean scores their own interval. Fewer fabricated and missed are better. new: drafts "
        "that are another text than the clean one."
    )
    table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("", no_wrap=True)
    for name in card.names:
        table.add_column(_HEADINGS[name], justify="right", no_wrap=True, min_width=9)
    for each in (card.clean, *card.conditions):
        if each.why_not is not None:
            table.add_row(f"{each.key}\n[dim]no study[/dim]", *["–"] * len(card.names))
            continue
        changed = f", {each.changed:.0%} new" if each.differences else ""
        label = f"{each.key}\n[dim]{each.num_studies}{changed}[/dim]"
        table.add_row(label, *(_cell(each, name) for name in card.names))
    return table


def _cell(each: ConditionScores, name: str) -> str:
    value = each.scores.get(name)
    if value is None:
        return "–"
    if name not in each.differences:
        return f"{value.value:.3f} \n[dim]{value.low:.2f}–{value.high:.2f}[/dim]"
    found = each.differences[name]
    ends = f"{found.low:+.2f} {found.high:+.2f}".replace("+0.", "+.").replace("-0.", "-.")
    worse = "*" if each.is_worse(name) else " "
    return f"{value.value:.3f} \n{found.value:+.3f}{worse}\n[dim]{ends}[/dim]"


def _outside(outside: OutsideScores) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=outside.data, title_justify="left")
    table.add_column("")
    for heading in ("sensitivity", "specificity", "sens. at home", "spec. at home"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in outside.findings.items():
        home = outside.at_home[name]
        shares = (found.sensitivity, found.specificity, home.sensitivity, home.specificity)
        table.add_row(name.replace("_", " "), *map(_share, shares))
    return table


def _share(share: Share) -> str:
    if not share.num_studies:
        return "–"
    return f"{share.value.value:.2f}, n {share.num_studies}\n[dim]{share.value.low:.2f}–{share.value.high:.2f}[/dim]"

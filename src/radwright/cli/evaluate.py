"""``radwright evaluate``: draft a split, score it beside trivial baselines, and a page to browse the drafts."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def evaluate(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best)."),
    data: Path = typer.Argument(..., help="Prepared store."),
    split: str = typer.Option(..., help="Split to evaluate: train, tune, val or test."),
    out: Path = typer.Option(..., "--out", help="Folder for drafts, scores and page."),
    by: str = typer.Option("", "--by", metavar="FACT,...", help="Split the scores by view, sex, age, scanner, ..."),
    train: Path | None = typer.Option(
        None, "--train", help="Store or file of reports for the baselines; default: the store's own train studies."
    ),
    convention: str = typer.Option("report", help="report, r2gen-iu, r2gen-mimic or raw."),
    limit: int | None = typer.Option(None, min=1, help="Evaluate the first N studies only."),
    max_shown: int = typer.Option(
        300, "--max-shown", min=1, help="Studies on the page: the worst, and some at random."
    ),
    batch_size: int = typer.Option(16, min=1, help="Studies decoded at once."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    decoding: list[str] = typer.Option(
        [], "--decoding", metavar="KEY=VALUE", help="E.g. strategy.num_beams=1, max_tokens=80, strategy.kind=sampling."
    ),
    clues: str | None = typer.Option(
        None, "--clues", help="threshold, topk, all, random, none, shuffled or oracle; default: the checkpoint's own."
    ),
    clue_seed: int = typer.Option(0, "--clue-seed", help="Of random and shuffled clues."),
    allow_oracle: bool = typer.Option(
        False, "--allow-oracle", help="Allow clues that are read from the reports themselves: an upper bound."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Draft every study of a split, score the drafts, and write a page that shows where they are wrong.

    DIR gets drafts.jsonl, scores.json, per_study.csv and index.html. Interrupted, the same command goes on where it
    stopped; called again, it takes the drafts that are there. Research only: a radiologist must check every draft.
    """
    from radwright.cli.progress import progress_bar, say
    from radwright.cli.score_tables import show, show_faithfulness
    from radwright.runs.clue_policies import ClueRequest
    from radwright.runs.evaluation import EvaluationRequest, run_evaluation

    request = EvaluationRequest(
        checkpoint=checkpoint,
        data=data,
        split=split,
        out=out,
        by=tuple(dict.fromkeys(name.strip() for name in by.split(",") if name.strip())),
        train=train,
        convention=convention,
        limit=limit,
        max_shown=max_shown,
        device=device,
        threads=threads,
        batch_size=batch_size,
        decoding=tuple(decoding),
        clues=ClueRequest(clues, clue_seed, allow_oracle),
    )
    result = run_evaluation(request, show_progress=lambda what, total: progress_bar(what, total=total))
    if as_json:
        print(json.dumps(result.plain(), ensure_ascii=False))
        return
    show(result.evaluation)
    if result.faithfulness is not None:
        show_faithfulness(result.faithfulness)
    for note in result.notes:
        say(f"note: {note}")
    if result.num_resumed:
        say(f"{result.num_resumed} of the drafts were there from an earlier call")
    for study_id, reason in list(result.skipped.items())[:5]:
        say(f"  skipped {study_id}: {reason}")
    say("Research only: not a medical device, a radiologist must check every draft.")
    say(str(result.page.resolve()))

"""``radwright generate``: drafts for images, folders, archives or a prepared store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from radwright.runs.drafting import Inputs
    from radwright.runs.generation import DraftingRequest
    from radwright.scale.cluster import ClusterConfig

_NAMED = 10


def generate(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best)."),
    inputs: list[str] = typer.Argument(
        ...,
        metavar="INPUT...",
        help="Images (PNG, JPEG, DICOM), folders, zip archives, one prepared store, or Parquet; also by URL (s3://...).",
    ),
    out: str = typer.Option(
        ..., "--out", help="JSONL file to write, a line per study; with --engine ray a folder or URL for Parquet files."
    ),
    split: str | None = typer.Option(None, help="Split of a prepared store: train, tune, val or test."),
    limit: int | None = typer.Option(None, min=1, help="Draft the first N studies only."),
    together: bool = typer.Option(False, "--together", help="All images given are views of one study."),
    batch_size: int = typer.Option(16, min=1, help="Studies decoded at once."),
    device: str = typer.Option("auto", help="cpu, cuda, cuda:1, ...; auto takes a GPU where there is one."),
    precision: str = typer.Option("fp32", help="fp32, or bf16 for matrix products in bfloat16 (several times faster)."),
    onnx: Path | None = typer.Option(
        None, "--onnx", metavar="DIR", help="Run the network by ONNX Runtime, as export-onnx wrote it there."
    ),
    compiled: bool = typer.Option(False, "--compile", help="Compile the stem first (torch.compile; needs a compiler)."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    decoding: list[str] = typer.Option(
        [], "--decoding", metavar="KEY=VALUE", help="E.g. strategy.num_beams=1, max_tokens=80, strategy.kind=sampling."
    ),
    beginnings: Path | None = typer.Option(
        None, "--beginnings", help='JSON lines {"study_id": ..., "beginning": ...}: text that a draft must begin with.'
    ),
    clues: str | None = typer.Option(
        None, "--clues", help="threshold, topk, all, random, none, shuffled or oracle; default: the checkpoint's own."
    ),
    clue_seed: int = typer.Option(0, "--clue-seed", help="Of random and shuffled clues."),
    allow_oracle: bool = typer.Option(
        False, "--allow-oracle", help="Allow clues that are read from the reports themselves: an upper bound."
    ),
    risk: float | None = typer.Option(
        None,
        "--risk",
        metavar="SHARE",
        help="Share of studies that may be told of a finding that is not there; --uncertain alone means 0.1.",
    ),
    uncertain: str | None = typer.Option(
        None,
        "--uncertain",
        help="Sentences that are too unsure for the risk: mark (--risk alone), or drop (leave out).",
    ),
    engine: str = typer.Option("local", help="local: this process; ray: workers on this machine or a Ray cluster."),
    cluster: list[str] = typer.Option(
        [], "--cluster", metavar="KEY=VALUE", help="For --engine ray: address, workers, cpus, gpus, piece_size."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Draft a report for every study, a line each: study_id, report, score, seconds.

    --risk and --uncertain need a checkpoint that `calibrate` has been run on; a line then says of every finding how
    sure it is, and studies that calibrated are skipped. Without both, drafts stand as they come.
    Interrupted, the same command goes on where it stopped. Drafts are for research; a radiologist must check every one.
    """
    from radwright.cli.cluster import cluster_of
    from radwright.data.remote import place_of
    from radwright.runs.clue_policies import ClueRequest
    from radwright.runs.drafting import Inputs, read_beginnings
    from radwright.runs.generation import DraftingRequest

    request = DraftingRequest(
        checkpoint,
        device=device,
        threads=threads,
        batch_size=batch_size,
        decoding=tuple(decoding),
        beginnings={} if beginnings is None else read_beginnings(beginnings),
        precision=precision,
        onnx=onnx,
        compiled=compiled,
        clues=ClueRequest(clues, clue_seed, allow_oracle),
        risk=risk,
        uncertain=uncertain,
    )
    chosen = Inputs(tuple(place_of(text) for text in inputs), split, limit, together)
    workers = cluster_of(engine, cluster)
    facts = _here(request, chosen, out) if workers is None else _on_cluster(request, chosen, out, workers)
    if as_json:
        print(json.dumps(facts))
    else:
        _say(facts)
    if not facts["num_reports"]:
        raise typer.Exit(1)


def _here(request: DraftingRequest, inputs: Inputs, out: str) -> dict[str, Any]:
    """Draft in this process into a JSONL file; what is said of it."""
    from radwright.cli.progress import progress_bar
    from radwright.data.remote import place_of
    from radwright.errors import ConfigError
    from radwright.evaluation.predict import draft_to_file
    from radwright.runs.drafting import find_reports
    from radwright.runs.generation import Drafting

    file = place_of(out)
    if isinstance(file, str):
        raise ConfigError(f"--out {out}: a URL needs --engine ray, which writes Parquet files there")
    drafting = Drafting.open(request)
    plan, silence = drafting.plan, drafting.silence
    studies = inputs.find()
    if plan is not None:
        reports = find_reports(inputs.places) if plan.is_oracle else {}
        plan.put_in_force(drafting.predictor, studies, reports, lambda what, total: progress_bar(what, total=total))
    calibrating = drafting.calibrating()
    with progress_bar("drafting", total=len(studies)) as bar:
        summary = draft_to_file(
            drafting.drafter,
            # One study after the other, so that a large store is never in memory at once.
            calibrating.watch(studies[place] for place in range(len(studies))),
            file,
            identity=drafting.identity(inputs),
            facts=drafting.row_facts,
            on_progress=lambda outcome: bar.advance(),
        )
    silence_notes = silence.notes(summary.skipped, summary.num_reports) if silence else calibrating.notes
    return {
        "out": out,
        "num_reports": summary.num_reports,
        "num_resumed": summary.num_resumed,
        "num_unfinished": summary.num_unfinished,
        "num_skipped": len(summary.skipped),
        "skipped": [[study.study_id, study.reason] for study in summary.skipped[:_NAMED]],
        "all_skipped": f"{out}.skipped.jsonl",
        "seconds": round(summary.seconds, 3),
        **({} if plan is None else {"clues": plan.plain()}),
        **({} if silence is None else {"silence": silence.plain()}),
        "notes": [*studies.notes, *(plan.notes if plan else ()), *silence_notes],
    }


def _on_cluster(request: DraftingRequest, inputs: Inputs, out: str, cluster: ClusterConfig) -> dict[str, Any]:
    """Draft by the workers of a cluster into Parquet files; what is said of it."""
    from radwright.cli.progress import progress_bar
    from radwright.data.remote import place_of
    from radwright.scale.drafting import draft_on_cluster

    with progress_bar("drafting", total=None) as bar:
        summary = draft_on_cluster(request, inputs, place_of(out), cluster, on_progress=bar.show)
    return {"out": out, **summary.plain(), "all_skipped": f"the column skipped of {out}"}


def _say(facts: Mapping[str, Any]) -> None:
    from radwright.cli.progress import say

    num_reports, out = facts["num_reports"], facts["out"]
    new = num_reports - facts["num_resumed"]
    rate = f" ({facts['seconds'] / new:.2f} s each)" if new > 0 else ""
    drafts = "1 draft" if num_reports == 1 else f"{num_reports} drafts"
    say(f"{drafts} in {out}{rate}; skipped: {facts['num_skipped']}" if num_reports else "no study could be drafted")
    if facts["num_resumed"]:
        say(f"{facts['num_resumed']} of them were there from an interrupted call")
    for study_id, reason in facts["skipped"]:
        say(f"  skipped {study_id}: {reason}")
    if facts["num_skipped"] > len(facts["skipped"]):
        say(f"  ... all in {facts['all_skipped']}")
    if facts["num_unfinished"]:
        say(f"{facts['num_unfinished']} drafts reached the length limit without ending by themselves")
    for note in facts["notes"]:
        say(f"note: {note}")
    say("Research drafts: not a medical device, a radiologist must check every one.")

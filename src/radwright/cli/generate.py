"""``radwright generate``: drafts for images, folders, archives or a prepared store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import typer


def generate(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best)."),
    inputs: list[Path] = typer.Argument(
        ..., metavar="INPUT...", help="Images (PNG, JPEG, DICOM), folders, zip archives, or one prepared store."
    ),
    out: Path = typer.Option(..., "--out", help="JSONL file to write: one line per study."),
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
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Draft a report for every study, a line each: study_id, report, score, seconds.

    --risk and --uncertain need a checkpoint that `calibrate` has been run on; a line then says of every finding how
    sure it is, and studies that calibrated are skipped. Without both, drafts stand as they come.
    Interrupted, the same command goes on where it stopped. Drafts are for research; a radiologist must check every one.
    """
    from radwright.cli.progress import progress_bar, say
    from radwright.evaluation.predict import draft_to_file
    from radwright.inference.onnx_backend import MANIFEST
    from radwright.runs.clue_policies import ClueRequest, plan_clues
    from radwright.runs.drafting import find_inputs, find_reports, open_predictor, read_beginnings
    from radwright.runs.silence import CalibratingStudies, plan_silence

    begun = {} if beginnings is None else read_beginnings(beginnings)
    predictor = open_predictor(
        checkpoint,
        device=device,
        threads=threads,
        batch_size=batch_size,
        decoding=decoding,
        beginnings=begun,
        precision=precision,
        onnx=onnx,
        compiled=compiled,
    )
    plan = plan_clues(predictor, ClueRequest(clues, clue_seed, allow_oracle))
    silence = plan_silence(predictor, plan, risk=risk, uncertain=uncertain)
    studies = find_inputs(inputs, split=split, limit=limit, together=together)
    identity = {
        "checkpoint": str(checkpoint),
        "weights": predictor.fingerprint,
        "inputs": [str(path) for path in inputs],
        "split": split,
        "limit": limit,
        "together": together,
        "decoding": predictor.decoding.plain(),
        **({} if precision == "fp32" else {"precision": precision}),
        **({} if onnx is None else {"onnx": sha256((onnx / MANIFEST).read_bytes()).hexdigest()}),
        **({} if plan is None else {"clues": plan.plain()}),
        **({} if silence is None else {"silence": silence.plain()}),
        **({"beginnings": sha256(json.dumps(begun).encode()).hexdigest()} if begun else {}),
    }
    if plan is not None:
        reports = find_reports(inputs) if plan.is_oracle else {}
        plan.put_in_force(predictor, studies, reports, lambda what, total: progress_bar(what, total=total))
    calibrating = CalibratingStudies() if silence else CalibratingStudies.of(checkpoint)
    with progress_bar("drafting", total=len(studies)) as bar:
        summary = draft_to_file(
            predictor if silence is None else silence.asserter,
            calibrating.watch(_unread(studies)),
            out,
            identity=identity,
            facts=None if plan is None else plan.row_facts,
            on_progress=lambda outcome: bar.advance(),
        )
    silence_notes = silence.notes(summary.skipped, summary.num_reports) if silence else calibrating.notes
    notes = [*studies.notes, *(plan.notes if plan else ()), *silence_notes]
    facts: dict[str, Any] = {
        "out": str(out),
        "num_reports": summary.num_reports,
        "num_resumed": summary.num_resumed,
        "num_unfinished": summary.num_unfinished,
        "num_skipped": len(summary.skipped),
        "seconds": round(summary.seconds, 3),
        **({} if plan is None else {"clues": plan.plain()}),
        **({} if silence is None else {"silence": silence.plain()}),
        "notes": notes,
    }
    if as_json:
        print(json.dumps(facts))
        return
    new = summary.num_reports - summary.num_resumed
    rate = f" ({summary.seconds / new:.2f} s each)" if new else ""
    drafts = "1 draft" if summary.num_reports == 1 else f"{summary.num_reports} drafts"
    say(
        f"{drafts} in {out}{rate}; skipped: {len(summary.skipped)}"
        if summary.num_reports
        else "no study could be drafted"
    )
    if summary.num_resumed:
        say(f"{summary.num_resumed} of them were there from an interrupted call")
    for skipped in summary.skipped[:10]:
        say(f"  skipped {skipped.study_id}: {skipped.reason}")
    if len(summary.skipped) > 10:
        say(f"  ... all in {out}.skipped.jsonl")
    if summary.num_unfinished:
        say(f"{summary.num_unfinished} drafts reached the length limit without ending by themselves")
    for note in notes:
        say(f"note: {note}")
    say("Research drafts: not a medical device, a radiologist must check every one.")
    if not summary.num_reports:
        raise typer.Exit(1)


def _unread(studies: Any) -> Iterable[Any]:
    """One study after the other, so that a large store is never in memory at once."""
    return (studies[index] for index in range(len(studies)))

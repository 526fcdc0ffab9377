"""``radwright export-onnx``: a checkpoint's network as ONNX graphs."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def export_onnx(
    checkpoint: Path = typer.Argument(..., help="Checkpoint directory (RUN/best) of a VLCI network."),
    inputs: list[Path] = typer.Argument(
        ..., metavar="INPUT...", help="Studies like those to be drafted: a prepared store, or images and folders."
    ),
    out: Path = typer.Option(..., "--out", metavar="DIR", help="New folder for the graphs."),
    split: str = typer.Option("train", help="Split of a prepared store; never one that is scored later."),
    studies: int = typer.Option(64, min=1, help="Studies to check on, and to take int8's ranges from."),
    int8: bool = typer.Option(False, "--int8", help="Quantise: smaller, and several times faster on a CPU."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Write a network for ONNX Runtime; `generate --onnx DIR` then drafts with it, by the same decoding.

    The graphs are checked against the network before they stand. What int8 costs in scores only scores tell: draft and
    score a validation split both ways, and `compare` the two.
    """
    from radwright.cli.progress import say
    from radwright.inference.onnx_export import export_onnx as write
    from radwright.runs.drafting import find_inputs, open_predictor
    from radwright.types import Skipped

    predictor = open_predictor(checkpoint, device="cpu", threads=threads, batch_size=8)
    is_store = len(inputs) == 1 and (inputs[0] / "store.json").is_file()
    found = find_inputs(inputs, split=split if is_store else None, limit=studies)
    views = [predictor.read_study(found[place]) for place in range(len(found))]
    readable = [each for each in views if not isinstance(each, Skipped)]
    batches = [predictor.batch_of(readable[place : place + 8]) for place in range(0, len(readable), 8)]
    made = write(predictor.checkpoint, out, batches, int8=int8, tell=lambda what: say(f"{what} ..."))
    if as_json:
        print(json.dumps({"out": str(out), "precision": made.precision, "studies": len(readable),
                          "largest_difference": made.largest_difference, "megabytes": made.megabytes}))  # fmt: skip
        return
    say(
        f"{out}: {made.precision}, {made.megabytes:.0f} MB; log-probabilities differ from the network's by at most "
        f"{made.largest_difference:.2g}"
    )
    if skipped := len(views) - len(readable):
        say(f"{skipped} studies could not be read, and were left out")

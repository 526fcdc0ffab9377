"""``radwright demo``: the whole way on synthetic radiographs."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def demo(
    overrides: list[str] = typer.Argument(
        None, metavar="[KEY=VALUE]...", help="Changes to the quickstart recipe, e.g. stages.0.train.epochs=2."
    ),
    out: Path = typer.Option(Path("runs/demo"), "--out", help="Folder for everything the demo makes."),
    method: str = typer.Option("cmcrl", "--method", help="What to train: cmcrl or trrg (needs the extra learned)."),
    studies: int | None = typer.Option(None, min=10, help="Train studies; fewer are quicker and worse."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads; default: all cores."),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON instead of text."),
) -> None:
    """See the whole way in minutes, with nothing to download: phantom, training, drafts, scores, a page.

    The radiographs are synthetic. Radwright is for research; it is not a medical device.
    """
    from radwright.cli.progress import say
    from radwright.runs.demo import run_demo

    quiet = (lambda text: None) if as_json else say
    result = run_demo(
        out, method=method, num_studies=studies, overrides=tuple(overrides or ()), threads=threads, say=quiet
    )
    if as_json:
        print(json.dumps(result.plain()))
        return
    bleu, findings = result.evaluation.metrics["bleu_4"], result.findings
    constant = result.evaluation.baselines.get("constant_bleu_4")
    beside = f"; best constant report {constant.metrics['bleu_4'].value:.3f}" if constant else ""
    say("")
    say(f"BLEU-4 {bleu.value:.3f} (95 % interval {bleu.low:.3f} to {bleu.high:.3f}){beside}")
    say(
        f"findings, micro-F1: {findings.micro.f1:.3f}; no constant report can pass {findings.best_constant_f1:.3f} "
        f"(precision {findings.micro.precision:.3f}, recall {findings.micro.recall:.3f})"
    )
    if result.cut_short:
        longer = " ".join(f"stages.{place}.train.max_minutes=15" for place in result.cut_short)
        say(
            "NOTE: this machine was too slow or too busy: training was cut off by its time limit, so the drafts are "
            "worse than they should be. To train on from there: radwright demo --out "
            f"{out} --method {method} {longer}"
        )
    if findings.micro.f1 <= findings.best_constant_f1:
        say("NOTE: these drafts do not beat a constant report: the model has not learnt to look at the images.")
    say(f"seconds: {', '.join(f'{name} {value:.0f}' for name, value in result.seconds.items())}")
    say("Synthetic images, research software: not a medical device, a radiologist must check every draft.")
    say(str(result.page.resolve()))

"""``radwright train``: the stages of a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def train(
    recipe: Path = typer.Argument(..., help="Recipe file (YAML)."),
    overrides: list[str] = typer.Argument(
        None, metavar="[KEY=VALUE]...", help="Changes to the recipe, e.g. store=DIR stages.0.train.epochs=3."
    ),
    out: Path = typer.Option(..., "--out", help="Run folder; the final checkpoint will be in RUN/best."),
    threads: int | None = typer.Option(None, min=1, help="CPU threads per process; default: all cores, shared out."),
    as_json: bool = typer.Option(False, "--json", help="Print the summary as JSON."),
) -> None:
    """Train every stage of a recipe.

    Interrupted or killed, the same command goes on where it stopped, to the bit on a CPU. RUN holds recipe.yaml (as
    resolved), run.json, and per stage metrics.jsonl and TensorBoard files.
    """
    import os

    from radwright.training.parent import end_with_parent

    end_with_parent()
    # Before torch is imported: its C++ side would repeat a hint about unused parameters from every process.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from radwright.cli.progress import say
    from radwright.runs.recipe import read_recipe
    from radwright.runs.training import train_recipe

    summaries = train_recipe(read_recipe(recipe, overrides or []), out, threads=threads)
    if summaries is None:
        return  # another process of the same run speaks
    if as_json:
        print(json.dumps({"best": str(out / "best"), "stages": summaries}))
        return
    for name, summary in summaries.items():
        score = ""
        if summary["best_score"] is not None:
            score = f", best {summary['metric']} {summary['best_score']:.4f} at step {summary['best_step']}"
        say(
            f"{name}: {summary['stopped']} after {summary['steps']} steps ({summary['epochs']:.1f} epochs, "
            f"{summary['elapsed_s'] / 60:.1f} min){score}"
        )
    if all(summary["stopped"] not in {"interrupted"} for summary in summaries.values()):
        say(f"checkpoint: {out / 'best'}")
    else:
        say("interrupted; the same command goes on from here")
        raise typer.Exit(130)

"""``radwright stress``: the confounding benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import typer


def stress(
    recipe: Path | None = typer.Argument(None, help="Stress recipe (YAML); default: recipes/stress/small.yaml."),
    overrides: list[str] = typer.Argument(
        None, metavar="[KEY=VALUE]...", help="Changes to the stress recipe, e.g. seeds=[0,1] population.seed=3."
    ),
    out: Path = typer.Option(Path("runs/stress"), "--out", help="Folder for everything the benchmark makes."),
    jobs: int | None = typer.Option(None, min=1, help="Trainings side by side; default: one per core, at most four."),
    threads: int = typer.Option(1, min=1, help="CPU threads of each."),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON instead of text."),
) -> None:
    """Plant a confounder beside a finding, train with it, and see what drafts do when it comes, goes and is reversed.

    Synthetic radiographs, nothing to download. Interrupted or killed, the same command goes on where it stopped.
    """
    import signal

    from radwright.cli.progress import say
    from radwright.runs.recipe import packaged
    from radwright.runs.stress import run_stress
    from radwright.runs.stress_recipe import read_stress
    from radwright.runs.stress_table import text

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = read_stress(packaged("stress/small.yaml") if recipe is None else recipe, overrides or [])
    table = run_stress(config, out, jobs=jobs, threads=threads, say=(lambda text: None) if as_json else say)
    if as_json:
        print(json.dumps(table.plain()))
        return
    say("")
    say(text(table))
    say("")
    say(f"{table.cost['seconds'] / 60:.1f} minutes, {table.cost['cpu_seconds'] / 60:.1f} CPU-minutes")
    say("Synthetic images, research software: not a medical device, a radiologist must check every draft.")
    say(f"whole table: {out / 'stress.md'}, with plots: {(out / 'stress.html').resolve()}")

"""The ``radwright`` command: a table of sub-commands, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click
import typer
from typer.core import TyperGroup

from radwright import __version__
from radwright.errors import RadwrightError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "prepare": ("radwright.cli.prepare:prepare", "Turn a dataset into a prepared store."),
    "train": ("radwright.cli.train:train", "Train the stages of a recipe."),
    "generate": ("radwright.cli.generate:generate", "Draft reports for images or a prepared store."),
    "score": ("radwright.cli.score:score", "Score drafts against references, with intervals and trivial baselines."),
    "demo": ("radwright.cli.demo:demo", "See the whole way on synthetic radiographs, in minutes."),
}
"""Command -> (``module:function``, one line for ``--help``)."""


class _LazyCommands(TyperGroup):
    """Lists every command without importing one; imports the called one only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        target, summary = COMMANDS[cmd_name]
        module, _, function = target.partition(":")
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name=cmd_name, short_help=summary)(getattr(importlib.import_module(module), function))
        return typer.main.get_command(single)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


app = typer.Typer(cls=_LazyCommands, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def _print_version(value: bool) -> None:
    if value:
        print(f"radwright {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Train, judge and serve models that write chest X-ray reports.

    For research. Not a medical device: a radiologist must check every draft.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; an error of ours is one line on standard error and exit status 1."""
    try:
        app(args=arguments)
    except RadwrightError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(130)

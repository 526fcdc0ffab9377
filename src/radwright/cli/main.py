"""The ``radwright`` command: a table of sub-commands, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from radwright import __version__
from radwright.errors import RadwrightError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "prepare": ("radwright.cli.prepare:prepare", "Turn a dataset into a prepared store."),
    "train": ("radwright.cli.train:train", "Train the stages of a recipe."),
    "generate": ("radwright.cli.generate:generate", "Draft reports for images or a prepared store."),
    "export-onnx": ("radwright.cli.export_onnx:export_onnx", "Write a checkpoint's network for ONNX Runtime."),
    "clues": ("radwright.cli.clues:clues", "See which diseases a checkpoint perceives in images."),
    "import-released": (
        "radwright.cli.import_released:import_released",
        "Turn the CMCRL authors' weights into a checkpoint, or check parity with them.",
    ),
    "score": ("radwright.cli.score:score", "Score drafts against references, with intervals and trivial baselines."),
    "evaluate": ("radwright.cli.evaluate:evaluate", "Draft a split, score it, and browse the drafts on one page."),
    "evaluate-clues": (
        "radwright.cli.evaluate_clues:evaluate_clues",
        "Score the diseases that a checkpoint perceives: AUC, F1, calibration, and a page.",
    ),
    "explain": ("radwright.cli.explain:explain", "See what every sentence of a study's draft rests on, on one page."),
    "evaluate-evidence": (
        "radwright.cli.evaluate_evidence:evaluate_evidence",
        "Judge evidence maps on the phantom: pointing game and deletion curve.",
    ),
    "calibrate": (
        "radwright.cli.calibrate:calibrate",
        "Find from which bar on a checkpoint may assert findings, at a level of risk.",
    ),
    "label": ("radwright.cli.label:label", "Label what reports assert, deny and leave open (CheXpert or NIH classes)."),
    "compare": (
        "radwright.cli.compare:compare",
        "Compare two systems' drafts of the same studies, with intervals, p-values and a verdict.",
    ),
    "robustness": (
        "radwright.cli.robustness:robustness",
        "Score drafts of blurred, noisy, cropped ... images, of missing views and of another source.",
    ),
    "stress": (
        "radwright.cli.stress:stress",
        "Plant confounders in synthetic radiographs and measure which systems fall for them.",
    ),
    "check-privacy": (
        "radwright.cli.check_privacy:check_privacy",
        "See which tags of DICOM files still identify the patient, and which files have text in their pixels.",
    ),
    "serve": (
        "radwright.cli.serve:serve",
        "Open the reading room: drafts over HTTP, and a page to check, edit and sign them.",
    ),
    "token": ("radwright.cli.token:token", "Say who may read, sign and administer in a reading room."),
    "audit": ("radwright.cli.audit:audit", "Verify or read a reading room's audit log."),
    "export": ("radwright.cli.export:export", "Write a report of the reading room as DICOM SR, FHIR or text."),
    "listen": ("radwright.cli.listen:listen", "Receive studies from a PACS, and send it the signed reports."),
    "demo": ("radwright.cli.demo:demo", "See the whole way on synthetic radiographs, in minutes."),
}
"""Command -> (``module:function``, one line for ``--help``)."""
RESUMABLE = frozenset(
    {"prepare", "train", "generate", "evaluate", "evaluate-evidence", "calibrate", "robustness", "stress", "demo"}
)
"""Commands that go on where they stopped."""
INTERRUPTED = 130
"""Exit status on Ctrl-C; the command-line library turns the interrupt into it."""


def _print_version(value: bool) -> None:
    if value:
        print(f"radwright {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Train, judge and serve models that write chest X-ray reports.

    For research. Not a medical device: a radiologist must check every draft.
    """


def _placeholder(summary: str) -> Callable[[], None]:
    """Stands in the list of commands for one that is not being called, so that its module stays unimported."""

    def command() -> None:
        raise AssertionError("a placeholder was called")

    command.__doc__ = summary
    return command


def build(called: str | None) -> typer.Typer:
    """The command line with the ``called`` command imported and every other one listed only."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(_root)
    for name, (target, summary) in COMMANDS.items():
        module, _, function = target.partition(":")
        implementation = getattr(importlib.import_module(module), function) if name == called else _placeholder(summary)
        app.command(name=name, short_help=summary)(implementation)
    return app


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; an error of ours is one line on standard error and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    try:
        build(called)(args=arguments)
    except RadwrightError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        resume = "; run the same command again to resume" if called in RESUMABLE else ""
        print(f"interrupted{resume}", file=sys.stderr)
        sys.exit(INTERRUPTED)

"""What long commands show: a progress bar in a terminal; elsewhere, in a log say, a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PLAIN_EVERY_S = 30.0
"""Seconds between the lines of a log."""


class Bar:
    """A running progress bar, or the lines of a log.

    Args:
        progress: rich's.
        what: is done.
        total: how many there are, None: not known yet.
        unit: what they are.
    """

    def __init__(self, progress: Any, what: str, total: int | None, unit: str) -> None:
        self._progress, self._what, self._unit = progress, what, unit
        self._task = progress.add_task(what, total=total, unit=unit)
        self._total, self._done = total, 0
        self._first: tuple[float, int] | None = None
        self._told_at = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """``count`` more are done."""
        self.show(self._done + count, self._total)

    def show(self, done: int, total: int | None) -> None:
        """So many are done, of so many."""
        self._done, self._total = done, total
        self._progress.update(self._task, completed=done, total=total)
        now = time.monotonic()
        # What an earlier call had done is there at once, and says nothing of the speed.
        self._first = self._first or (now, done)
        if self._progress.disable and now - self._told_at >= PLAIN_EVERY_S:
            self._told_at = now
            rate = (done - self._first[1]) / (now - self._first[0]) if now > self._first[0] else 0.0
            left = f", {rate:.3g}/s, about {(total - done) / rate:.0f} s left" if rate and total is not None else ""
            of = "" if total is None else f" of {total}"
            print(f"{self._what}: {done}{of} {self._unit}{left}", file=sys.stderr, flush=True)


@contextmanager
def progress_bar(what: str, *, total: int | None, unit: str = "studies") -> Iterator[Bar]:
    """Count, speed and time left of ``what`` on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        yield Bar(progress, what, total, unit)


def say(text: str) -> None:
    """One line for the person who called the command."""
    print(text)

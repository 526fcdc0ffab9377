"""What long commands show: a progress bar in a terminal, nothing but the summary elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bar:
    """A running progress bar."""

    progress: Any
    task: Any

    def advance(self, count: int = 1) -> None:
        """``count`` more are done."""
        self.progress.advance(self.task, count)


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
        yield Bar(progress, progress.add_task(what, total=total, unit=unit))


def say(text: str) -> None:
    """One line for the person who called the command."""
    print(text)

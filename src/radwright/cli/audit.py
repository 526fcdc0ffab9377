"""``radwright audit``: is a reading room's log whole, and what does it say."""

from __future__ import annotations

import json
from pathlib import Path

import typer

ACTIONS = ("verify", "show", "head")


def audit(
    action: str = typer.Argument(..., metavar="verify|show|head"),
    data: Path = typer.Option(..., "--data", metavar="DIR", help="Folder of the reading room."),
    head: str | None = typer.Option(
        None, "--head", metavar="SHA256", help="verify: a digest noted before must still be in the log."
    ),
) -> None:
    """Check the log and every report against it; print it as JSON lines; or print its last digest, to note elsewhere.

    A log that was cut short is whole in itself: note its head now and then where the server cannot write, and give it
    to verify.
    """
    from radwright.cli.progress import say
    from radwright.errors import ConfigError, near
    from radwright.serving import audit as log
    from radwright.serving.room import ReadingRoom

    if action not in ACTIONS:
        raise ConfigError(f"{action}: no such action{near(action, ACTIONS)}; there are {', '.join(ACTIONS)}")
    room = ReadingRoom(data, create=False)
    if action == "show":
        for entry in log.entries(room.database):
            print(json.dumps(entry.plain(), ensure_ascii=False))
        return
    verdict = log.verify(room.database, head=head)
    if action == "head":
        print(verdict.head)
        return
    for fault in verdict.faults:
        say(fault)
    if verdict.faults:
        say(f"{data}: the log of {verdict.num_entries} entries is NOT whole: {len(verdict.faults)} faults")
        raise typer.Exit(1)
    say(f"{data}: {verdict.num_entries} entries, whole; head {verdict.head}")

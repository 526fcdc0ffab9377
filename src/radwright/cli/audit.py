"""``radwright audit``: is a reading room's log whole, and what does it say."""

from __future__ import annotations

import json
import re
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
    """Check the log, and patients, images, drafts, reports, signatures and tokens against it; print it as JSON lines;
    or print its last digest, to note elsewhere.

    A log that was cut short is whole in itself: note its head now and then where the server cannot write, and give it
    to verify.
    """
    from radwright.cli.progress import say
    from radwright.errors import ConfigError, near
    from radwright.serving import audit as log
    from radwright.serving.room import ReadingRoom
    from radwright.serving.verifying import verify

    if action not in ACTIONS:
        raise ConfigError(f"{action}: no such action{near(action, ACTIONS)}; there are {', '.join(ACTIONS)}")
    room = ReadingRoom(data, create=False)
    if head is not None and not re.fullmatch("[0-9a-f]{64}", head):
        raise ConfigError(f"--head {head}: is no SHA-256 in hexadecimal (radwright audit head prints one)")
    if action == "show":
        for entry in log.entries(room.database):
            print(json.dumps(entry.plain(), ensure_ascii=False))
        return
    verdict = verify(room, head=head)
    if action == "head":
        print(verdict.head)
        return
    for fault in verdict.faults:
        say(fault)
    if verdict.faults:
        say(f"{data}: NOT what its log of {verdict.num_entries} entries says: {len(verdict.faults)} faults")
        raise typer.Exit(1)
    say(f"{data}: all is as the log's {verdict.num_entries} entries say; head {verdict.head}")

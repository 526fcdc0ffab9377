"""``radwright token``: who may do what in a reading room."""

from __future__ import annotations

from pathlib import Path

import typer

ACTIONS = ("add", "list", "revoke")


def token(
    action: str = typer.Argument(..., metavar="add|list|revoke"),
    name: str | None = typer.Argument(None, help="The person; the name stands under what they sign."),
    data: Path = typer.Option(..., "--data", metavar="DIR", help="Folder of the reading room."),
    role: str = typer.Option("reader", help="reader, radiologist (also edits and signs), admin (also reads the log)."),
) -> None:
    """Give a person a token, list who has one, or take one back.

    A token is printed this once and never kept: pass it on as you would a password. The first token ends the time when
    users of this machine needed none, of a running server, too.
    """
    from rich.console import Console
    from rich.table import Table

    from radwright.cli.progress import say
    from radwright.errors import ConfigError, near
    from radwright.serving.room import ReadingRoom

    if action not in ACTIONS:
        raise ConfigError(f"{action}: no such action{near(action, ACTIONS)}; there are {', '.join(ACTIONS)}")
    if (name is None) != (action == "list"):
        raise ConfigError(f"token {action}: {'takes no name' if name else 'give the name of the person'}")
    room = ReadingRoom(data, create=action == "add")
    if action == "add":
        assert name is not None
        is_first = not room.access.has_tokens()
        secret = room.access.add(name, role)
        say(f"token of {name} ({role}), shown this once:")
        print(secret)
        if is_first:
            say("from now on everybody needs a token here, of a running server, too")
    elif action == "revoke":
        assert name is not None
        room.access.revoke(name)
        say(f"{name} may do nothing here any more")
    else:
        table = Table("name", "role", "since", "revoked")
        for row in room.access.tokens():
            table.add_row(row["name"], row["role"], row["created_at"], row["revoked_at"] or "")
        Console().print(table)

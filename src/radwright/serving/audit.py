"""The audit log: who did what to which study, when; every entry holds the digest of the one before it.

An entry is written in the transaction of what it tells, so nothing happens without one. It holds no name of a patient
and no report: of a text its SHA-256, by which ``verify`` sees a report that was changed behind the software's back. A
log that was cut short is whole in itself; that is seen by a digest noted elsewhere before (``radwright audit head``).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from radwright.serving.database import Database, now

BEGINNING = "0" * 64
"""What the first entry holds in the place of a digest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log.

    Attributes:
        number: 1, 2, ... without a gap.
        at: when.
        actor: the name of a token, ``local``, ``pacs:AE_TITLE`` or ``radwright``.
        action: what was done.
        study: to which study, or empty.
        details: JSON-able values.
        previous: digest of the entry before.
        digest: SHA-256 of all that in hexadecimal.
    """

    number: int
    at: str
    actor: str
    action: str
    study: str
    details: Mapping[str, Any]
    previous: str
    digest: str

    def plain(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {name: getattr(self, name) for name in self.__slots__}


def text_digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def append(connection: sqlite3.Connection, actor: str, action: str, study: str = "", **details: Any) -> None:
    """Write an entry; inside the transaction of what it tells."""
    last = connection.execute("SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (last["number"] + 1, last["digest"]) if last else (1, BEGINNING)
    told, at = json.dumps(details, sort_keys=True, ensure_ascii=False), now()
    digest = _digest(number, at, actor, action, study, told, previous)
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (number, at, actor, action, study, told, previous, digest)
    )


def digest_of(row: sqlite3.Row) -> str:
    """What the digest of an entry must be."""
    names = ("number", "at", "actor", "action", "study", "details", "previous")
    return _digest(*(row[name] for name in names))


def _digest(*values: int | str) -> str:
    # As JSON, so that no two lists of values look alike.
    return hashlib.sha256(json.dumps(values, ensure_ascii=False).encode()).hexdigest()


def entries(database: Database, *, after: int = 0, limit: int | None = None) -> Iterator[Entry]:
    """The log in order, from behind entry ``after``."""
    rows = database.connection.execute(
        "SELECT * FROM audit WHERE number > ? ORDER BY number LIMIT ?", (after, -1 if limit is None else limit)
    )
    for row in rows:
        yield Entry(**{**dict(row), "details": json.loads(row["details"])})

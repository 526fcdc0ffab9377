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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the log found.

    Attributes:
        num_entries: checked.
        head: digest of the last entry.
        faults: what does not fit, in words; none where the log is whole.
    """

    num_entries: int
    head: str
    faults: tuple[str, ...]


def verify(database: Database, *, head: str | None = None) -> Verdict:
    """Check the chain from its first entry, and every version of a report against the entry that tells of it.

    Args:
        database: the reading room's.
        head: digest of an entry, noted before: it must still be there.
    """
    faults: list[str] = []
    previous, number, has_head = BEGINNING, 0, head is None or head == BEGINNING
    told, signed = dict[tuple[str, int], str](), dict[str, tuple[Any, ...]]()
    for row in database.connection.execute("SELECT * FROM audit ORDER BY number"):
        number += 1
        if row["number"] != number:
            faults.append(f"entry {number} is missing (the next is {row['number']})")
            number = row["number"]
        values = (row["number"], row["at"], row["actor"], row["action"], row["study"], row["details"], row["previous"])
        if row["previous"] != previous:
            faults.append(f"entry {number} does not follow the one before it")
        if _digest(*values) != row["digest"]:
            faults.append(f"entry {number} was changed: its digest does not fit")
        previous = row["digest"]
        has_head = has_head or row["digest"] == head
        details = _details(row["details"])
        if isinstance(details.get("text"), str) and isinstance(details.get("version"), int):
            told[row["study"], details["version"]] = details["text"]
        if row["action"] == "sign" and isinstance(details.get("digest"), str):
            signed[row["study"]] = (details.get("signed"), details["digest"], details.get("observer"))
    if not has_head:
        faults.append(f"no entry has the digest {head}: the log was cut short, or written anew")
    faults += _changed_versions(database, told)
    faults += _changed_signatures(database, signed)
    return Verdict(number, previous, tuple(faults))


def _details(told: str) -> dict[str, Any]:
    try:
        found = json.loads(told)
    except ValueError:  # a changed entry: told above
        return {}
    return found if isinstance(found, dict) else {}


def _changed_versions(database: Database, told: Mapping[tuple[str, int], str]) -> Iterator[str]:
    missing = dict(told)
    for row in database.connection.execute("SELECT study, number, text FROM version ORDER BY study, number"):
        expected = missing.pop((row["study"], row["number"]), None)
        if expected is None:
            yield f"study {row['study']}: no entry tells of version {row['number']} of its report"
        elif expected != text_digest(row["text"]):
            yield f"study {row['study']}: version {row['number']} of its report is not the text that was logged"
    for study, number in missing:
        yield f"study {study}: version {number} of its report is missing"


def _changed_signatures(database: Database, signed: Mapping[str, tuple[Any, ...]]) -> Iterator[str]:
    missing = dict(signed)
    rows = database.connection.execute(
        "SELECT signature.study, signature.version, observer, text FROM signature LEFT JOIN version "
        "ON version.study = signature.study AND version.number = signature.version ORDER BY signature.study"
    )
    for row in rows:
        expected = missing.pop(row["study"], None)
        if expected != (row["version"], text_digest(row["text"] or ""), row["observer"]):
            yield f"study {row['study']}: its signature is not the one that was logged"
    for study in missing:
        yield f"study {study}: its signature is missing"

"""Is a reading room what its audit log says: its chain, and every row that must not change behind it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from radwright.errors import StoreError
from radwright.serving import audit
from radwright.serving.records import ReadingStudy
from radwright.serving.room import ReadingRoom
from radwright.serving.rows import STUDY, facts_digest, image_digest, image_of, row_digest


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a reading room found.

    Attributes:
        num_entries: of the log.
        head: digest of its last entry.
        faults: what does not fit, in words; none where all is whole.
    """

    num_entries: int
    head: str
    faults: tuple[str, ...]


@dataclass(slots=True)
class _Told:
    """What the log says of the rest."""

    versions: dict[tuple[str, int], str] = field(default_factory=dict)
    drafts: dict[tuple[str, int], str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    images: set[tuple[str, str]] = field(default_factory=set)
    signatures: dict[tuple[str, int], str] = field(default_factory=dict)
    documents: dict[tuple[str, int, bool], tuple[str, str]] = field(default_factory=dict)
    sent: set[tuple[str, str, int, bool]] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    roles: dict[str, str | None] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)

    def take(self, row: sqlite3.Row) -> None:
        details, study = _details(row["details"]), row["study"]
        match row["action"]:
            case "upload":
                self.images |= {(study, digest) for digest in details.get("images", ())}
            case "receive image" | "receive late image":
                self.images.add((study, details.get("image", "")))
            case "draft":
                self.drafts[study, details.get("draft", 0)] = details.get("body", "")
            case "document":
                key = (study, details.get("report", 0), bool(details.get("signed")))
                self.documents[key] = (details.get("uid", ""), details.get("series_uid", ""))
            case "sent":
                destination, report = details.get("destination", ""), details.get("report", 0)
                self.sent.add((study, destination, report, bool(details.get("signed"))))
            case "withdraw":
                self.withdrawn.add(study)
            case "restore":
                self.withdrawn.discard(study)
            case "add token":
                self.roles[details.get("name", "")] = details.get("role")
            case "revoke token":
                self.roles[details.get("name", "")] = None
            case "sign in":
                self.sessions.add(details.get("session", ""))
        if "facts" in details:
            self.facts[study] = details["facts"]
        if isinstance(details.get("version"), int):
            self.versions[study, details["version"]] = details.get("row", "")
        if "signature" in details:
            self.signatures[study, details.get("signed", 0)] = details["signature"]


def verify(room: ReadingRoom, *, head: str | None = None) -> Verdict:
    """Check the log's chain from its first entry, and everything in the room against what the log tells of it.

    Every kept image is read once.

    Args:
        room: the reading room.
        head: digest of an entry, noted before: it must still be there.
    """
    faults: list[str] = []
    told, previous, number, has_head = _Told(), audit.BEGINNING, 0, head in {None, audit.BEGINNING}
    for row in room.database.connection.execute("SELECT * FROM audit ORDER BY number"):
        number += 1
        if row["number"] != number:
            faults.append(f"entry {number} is missing (the next is {row['number']})")
            number = row["number"]
        if row["previous"] != previous:
            faults.append(f"entry {number} does not follow the one before it")
        if audit.digest_of(row) != row["digest"]:
            faults.append(f"entry {number} was changed: its digest does not fit")
        previous = row["digest"]
        has_head = has_head or row["digest"] == head
        told.take(row)
    if not has_head:
        faults.append(f"no entry has the digest {head}: the log was cut short, or written anew")
    if not number and any(path.is_file() for path in room.blobs.folder.glob("*/*")):
        faults.append("the log is empty, but images are here: was reading.sqlite copied without its -wal file?")
    checks = (_versions, _signatures, _documents, _sendings, _states, _drafts, _facts, _images, _tokens, _sessions)
    for check in checks:
        faults += check(room, told)
    return Verdict(number, previous, tuple(faults))


def _details(told: str) -> dict[str, Any]:
    try:
        found = json.loads(told)
    except ValueError:  # a changed entry: told above
        return {}
    return found if isinstance(found, dict) else {}


def _versions(room: ReadingRoom, told: _Told) -> Iterator[str]:
    missing = dict(told.versions)
    for row in room.database.connection.execute("SELECT * FROM version ORDER BY study, number"):
        expected = missing.pop((row["study"], row["number"]), None)
        if expected is None:
            yield f"study {row['study']}: no entry tells of version {row['number']} of its report"
        elif expected != row_digest(row):
            yield (
                f"study {row['study']}: version {row['number']} of its report is not what was logged (its text, its "
                "author, its time or what it is based on)"
            )
    for study, number in missing:
        yield f"study {study}: version {number} of its report is missing"


def _signatures(room: ReadingRoom, told: _Told) -> Iterator[str]:
    missing = dict(told.signatures)
    for row in room.database.connection.execute("SELECT * FROM signature ORDER BY study, version"):
        if missing.pop((row["study"], row["version"]), None) != row_digest(row):
            yield f"study {row['study']}: the signature of version {row['version']} is not the one that was logged"
    for study, version in missing:
        yield f"study {study}: the signature of version {version} is missing"


def _documents(room: ReadingRoom, told: _Told) -> Iterator[str]:
    missing = dict(told.documents)
    for row in room.database.connection.execute("SELECT * FROM document ORDER BY study, version"):
        key = (row["study"], row["version"], bool(row["signed"]))
        if missing.pop(key, None) != (row["uid"], row["series_uid"]):
            yield f"study {row['study']}: the UIDs of the document of version {row['version']} are not those logged"
    for study, version, _ in missing:
        yield f"study {study}: the UIDs of the document of version {version} are missing"


def _sendings(room: ReadingRoom, told: _Told) -> Iterator[str]:
    missing = set(told.sent)
    for row in room.database.connection.execute("SELECT * FROM sending WHERE sent_at IS NOT NULL ORDER BY id"):
        key = (row["study"], row["destination"], row["version"], bool(row["signed"]))
        if key not in told.sent:
            yield f"study {row['study']}: no entry tells that version {row['version']} was sent to {row['destination']}"
        missing.discard(key)
    for study, destination, version, _ in sorted(missing):
        yield f"study {study}: it is forgotten that version {version} was sent to {destination}"


def _states(room: ReadingRoom, told: _Told) -> Iterator[str]:
    signed = {study for study, _ in told.signatures}
    for row in room.database.connection.execute("SELECT id, state FROM study ORDER BY received_at"):
        for state, those in (("signed", signed), ("withdrawn", told.withdrawn)):
            if (row["state"] == state) != (row["id"] in those):
                was = "was" if row["id"] in those else "was not"
                yield f"study {row['id']}: stands as {row['state']}, but by the log it {was} {state}"


def _sessions(room: ReadingRoom, told: _Told) -> Iterator[str]:
    for row in room.database.connection.execute(
        "SELECT session.digest, name FROM session JOIN token ON token.digest = session.token"
    ):
        if row["digest"] not in told.sessions:
            yield f"a session of {row['name']!r} is open that nobody signed in for"


def _drafts(room: ReadingRoom, told: _Told) -> Iterator[str]:
    missing = dict(told.drafts)
    for row in room.database.connection.execute("SELECT study, number, body FROM draft ORDER BY study, number"):
        if missing.pop((row["study"], row["number"]), None) != audit.text_digest(row["body"]):
            yield f"study {row['study']}: draft {row['number']} is not the one that was logged"
    for study, number in missing:
        yield f"study {study}: draft {number} is missing"


def _facts(room: ReadingRoom, told: _Told) -> Iterator[str]:
    missing = dict(told.facts)
    for row in room.database.connection.execute("SELECT * FROM study ORDER BY received_at"):
        study = ReadingStudy(**{name: row[name] for name in STUDY})
        if missing.pop(study.id, None) != facts_digest(study):
            yield f"study {study.id}: its patient, or another fact of it, is not what was logged"
    for study_id in missing:
        yield f"study {study_id}: is missing"


def _images(room: ReadingRoom, told: _Told) -> Iterator[str]:
    missing = set(told.images)
    for row in room.database.connection.execute("SELECT * FROM image ORDER BY study, place"):
        image = (row["study"], image_digest(image_of(row)))
        if image not in told.images:
            yield f"study {row['study']}: image {row['place'] + 1} is not what was logged (its bytes, UIDs or view)"
        if bool(row["withdrawn"]) != (row["study"] in told.withdrawn):
            yield f"study {row['study']}: image {row['place'] + 1} counts as withdrawn, or not, against the log"
        missing.discard(image)
        try:
            room.blobs.get(row["digest"])
        except StoreError as error:
            yield f"study {row['study']}, image {row['place'] + 1}: {error}"
    for study, _ in sorted(missing):
        yield f"study {study}: an image of it is missing, or another one than was logged"


def _tokens(room: ReadingRoom, told: _Told) -> Iterator[str]:
    for row in room.access.tokens():
        role = None if row["revoked_at"] else row["role"]
        if told.roles.get(row["name"], "") != role:
            yield f"the token of {row['name']!r} is not what was logged"

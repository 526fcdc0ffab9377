"""Rows of the reading room's tables, read and written inside a transaction of whoever calls."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from radwright.serving import audit
from radwright.serving.assertions import asserted, doubt, urgency
from radwright.serving.database import folded, now
from radwright.serving.records import (
    Draft,
    DraftFinding,
    DraftSentence,
    ModelIdentity,
    ReadingImage,
    ReadingStudy,
)
from radwright.serving.refusals import UnknownStudyError

SEARCHED = ("patient_name", "patient_id", "accession", "description", "indication", "id")
"""What the worklist's search looks at."""
STUDY = tuple(field.name for field in dataclasses.fields(ReadingStudy))
IMAGE = tuple(field.name for field in dataclasses.fields(ReadingImage))
"""Columns."""
_CHANGING = frozenset({"state", "reason", "updated_at", "origin"})


def study_row(connection: sqlite3.Connection, study_id: str) -> ReadingStudy:
    """One study.

    Raises:
        UnknownStudyError: there is none of this id.
    """
    row = connection.execute("SELECT * FROM study WHERE id = ?", (study_id,)).fetchone()
    if row is None:
        raise UnknownStudyError(f"there is no study {study_id!r} here")
    return ReadingStudy(**{name: row[name] for name in STUDY})


def searched(study: ReadingStudy) -> str:
    """What the worklist's search looks through: as it is searched, a field per line, so that no word spans two."""
    return "\n".join(" ".join(folded(getattr(study, name)).split()) for name in SEARCHED)


def change_state(connection: sqlite3.Connection, study_id: str, state: str, reason: str = "") -> None:
    """What has become of a study."""
    connection.execute(
        "UPDATE study SET state = ?, reason = ?, updated_at = ? WHERE id = ?", (state, reason, now(), study_id)
    )


def facts_digest(study: ReadingStudy) -> str:
    """SHA-256 of who was examined, when and why: what nobody changes once a study is here."""
    facts = {name: getattr(study, name) for name in STUDY if name not in _CHANGING}
    return audit.text_digest(json.dumps(facts, sort_keys=True, ensure_ascii=False))


def row_digest(row: Mapping[str, Any] | sqlite3.Row) -> str:
    """SHA-256 of everything that a row holds: what the audit log tells of rows that never change."""
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118 (sqlite3.Row is no mapping)
    return audit.text_digest(json.dumps(values, sort_keys=True, ensure_ascii=False))


def version_digest(connection: sqlite3.Connection, study_id: str, number: int) -> str:
    """Of a version: its text, who wrote it, when, on what."""
    chosen = (study_id, number)
    return row_digest(connection.execute("SELECT * FROM version WHERE study = ? AND number = ?", chosen).fetchone())


def image_digest(image: ReadingImage) -> str:
    """Of what is known of an image, with the digest of its bytes."""
    return row_digest(dataclasses.asdict(image))


def want_draft(
    connection: sqlite3.Connection,
    study_id: str,
    forced: Mapping[str, bool],
    actor: str,
    deadline_at: str,
) -> None:
    """Let a study wait for a draft."""
    connection.execute(
        "INSERT INTO job VALUES (?, ?, ?, ?, ?)",
        (study_id, json.dumps(dict(forced)), actor, now(), deadline_at or None),
    )


def is_touched(connection: sqlite3.Connection, study: ReadingStudy) -> bool:
    """Whether a person has worked on the report."""
    edited = connection.execute("SELECT 1 FROM version WHERE study = ? AND kind = 'edit'", (study.id,)).fetchone()
    return study.state == "signed" or edited is not None


def add_version(
    connection: sqlite3.Connection,
    study_id: str,
    text: str,
    *,
    author: str,
    kind: str,
    draft: int,
    based_on: int | None = None,
) -> int:
    """The next version of a report, inside a transaction; its number. Based on the newest one where none is named."""
    last = connection.execute("SELECT max(number) FROM version WHERE study = ?", (study_id,)).fetchone()[0] or 0
    base = last if based_on is None else based_on
    connection.execute(
        "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (study_id, last + 1, text, author, kind, base, draft, now()),
    )
    return int(last + 1)


def set_asserted(connection: sqlite3.Connection, study_id: str, text: str, draft: Draft | None) -> None:
    """What a study's report asserts now, for the worklist; inside a transaction."""
    found = asserted(text, draft)
    connection.execute("DELETE FROM asserted WHERE study = ?", (study_id,))
    connection.executemany(
        "INSERT INTO asserted VALUES (?, ?, ?)", [(study_id, name, value) for name, value in found.items()]
    )
    connection.execute("UPDATE study SET doubt = ?, urgency = ? WHERE id = ?", (doubt(found), urgency(found), study_id))


def image_of(row: sqlite3.Row) -> ReadingImage:
    """An image."""
    values: dict[str, Any] = {name: row[name] for name in IMAGE}
    return ReadingImage(**{**values, "burned_in": bool(values["burned_in"])})


def draft_body(draft: Draft) -> str:
    """A draft as its row holds it."""
    return json.dumps(dataclasses.asdict(draft), ensure_ascii=False)


def draft_of(body: str) -> Draft:
    """A draft out of its row."""
    values = json.loads(body)
    sentences = tuple(
        DraftSentence(each["text"], each["log_prob"], tuple(each["findings"]), each["kept"])
        for each in values.pop("sentences")
    )
    findings = tuple(DraftFinding(**each) for each in values.pop("findings"))
    model = ModelIdentity(**values.pop("model"))
    token_ids = tuple(values.pop("token_ids"))
    return Draft(sentences=sentences, findings=findings, model=model, token_ids=token_ids, **values)

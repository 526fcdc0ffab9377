"""The report of a study: its versions, of which none is ever changed, and the signature that closes it."""

from __future__ import annotations

import secrets
import sqlite3
import uuid

from radwright.serving import audit
from radwright.serving.database import Database, now
from radwright.serving.records import ReportedStudy, Signature, Version
from radwright.serving.refusals import ConflictError, UnknownStudyError
from radwright.serving.rows import add_version, set_asserted
from radwright.serving.studies import Studies

MAX_CHARACTERS = 20_000
"""The longest report that is kept."""


class Reports:
    """Versions and signatures in a reading room's database; every method is one transaction.

    Args:
        database: the reading room's.
        studies: in the same database.
    """

    def __init__(self, database: Database, studies: Studies) -> None:
        self.database = database
        self.studies = studies

    def versions(self, study_id: str) -> list[Version]:
        """All versions, in order.

        Raises:
            UnknownStudyError: no such study.
        """
        self.studies.study(study_id)
        rows = self.database.connection.execute("SELECT * FROM version WHERE study = ? ORDER BY number", (study_id,))
        return [_version(row) for row in rows]

    def newest(self, study_id: str) -> Version | None:
        """The newest version; None where there is none."""
        return _newest(self.database.connection, study_id)

    def signature(self, study_id: str) -> Signature | None:
        """Who signed; None while nobody has."""
        row = self.database.connection.execute(
            "SELECT signature.*, version.text FROM signature JOIN version ON version.study = signature.study "
            "AND version.number = signature.version WHERE signature.study = ?",
            (study_id,),
        ).fetchone()
        return _signature(row) if row else None

    def save(self, study_id: str, text: str, *, based_on: int, author: str) -> Version:
        """A person's edit as the next version; the newest one where it changes nothing.

        Raises:
            UnknownStudyError: no such study.
            ConflictError: signed, still coming in, or not based on the newest version.
        """
        with self.database.transaction() as connection:
            self._open(connection, study_id)
            newest = _newest(connection, study_id)
            if based_on != (newest.number if newest else 0):
                raise ConflictError(
                    f"version {based_on} is not the newest one ({newest.number if newest else 0}) of this report: "
                    "someone else has changed it"
                )
            if newest is not None and newest.text == text:
                return newest
            number = add_version(
                connection, study_id, text, author=author, kind="edit", draft=newest.draft if newest else 0
            )
            connection.execute("UPDATE study SET updated_at = ? WHERE id = ?", (now(), study_id))
            draft = self.studies.draft(study_id, newest.draft) if newest and newest.draft else None
            set_asserted(connection, study_id, text, draft)
            audit.append(connection, author, "edit", study_id, version=number, text=audit.text_digest(text))
            made = _newest(connection, study_id)
        assert made is not None
        return made

    def sign(self, study_id: str, version: int, *, observer: str, organization: str = "", actor: str) -> Signature:
        """Make the newest version the report of record; nothing of the study changes after that.

        Signing the same version again, by the same observer, gives the same signature.

        Args:
            study_id: which study.
            version: what the radiologist has seen and signs; must be the newest.
            observer: the radiologist's name.
            organization: where they work.
            actor: who is signed in.

        Raises:
            UnknownStudyError: no such study.
            ConflictError: not the newest version, an empty report, still coming in, or signed otherwise.
        """
        with self.database.transaction() as connection:
            if (found := self.signature(study_id)) is not None:
                if (found.version, found.observer) == (version, observer):
                    return found
                raise ConflictError(f"study {study_id} is signed already, by {found.observer}")
            self._open(connection, study_id)
            newest = _newest(connection, study_id)
            if newest is None or newest.number != version:
                raise ConflictError(
                    f"version {version} is not the newest one ({newest.number if newest else 0}) of this report: "
                    "read that one before signing"
                )
            if not newest.text.strip():
                raise ConflictError("the report is empty: write it before signing")
            signed_at = now()
            connection.execute(
                "INSERT INTO signature VALUES (?, ?, ?, ?, ?)", (study_id, version, observer, organization, signed_at)
            )
            connection.execute("DELETE FROM job WHERE study = ?", (study_id,))
            connection.execute(
                "UPDATE study SET state = 'signed', reason = '', updated_at = ? WHERE id = ?", (signed_at, study_id)
            )
            document(connection, study_id, version, signed=True)
            audit.append(
                connection, actor, "sign", study_id,
                signed=version, digest=audit.text_digest(newest.text), observer=observer, organization=organization,
            )  # fmt: skip
        made = self.signature(study_id)
        assert made is not None
        return made

    def reported(self, study_id: str, version: int | None = None) -> ReportedStudy:
        """A study with its report, for an export: the signed text, or the newest draft or edit, unsigned.

        Args:
            study_id: which study.
            version: an unsigned version; the newest where none is named.

        Raises:
            UnknownStudyError: no such study or version.
            ConflictError: there is no report yet.
        """
        study, signature = self.studies.study(study_id), self.signature(study_id)
        # What came after the signature the radiologist has not seen: it is no part of what was signed.
        images = self.studies.images(study_id, until=signature.signed_at if signature else "")
        found = self.versions(study_id)
        wanted = signature.version if signature else version
        if not found:
            raise ConflictError(f"study {study_id} has no report yet")
        if wanted is not None and not 1 <= wanted <= len(found):
            raise UnknownStudyError(f"study {study_id} has no version {wanted}")
        shown = found[-1 if wanted is None else wanted - 1]
        with self.database.transaction() as connection:
            uid, series_uid = document(connection, study_id, shown.number, signed=signature is not None)
        return ReportedStudy(
            study=study,
            images=images,
            text=shown.text,
            signature=signature,
            draft=self.studies.draft(study_id, shown.draft) if shown.draft else None,
            document_uid=uid,
            series_uid=series_uid,
            written_at=signature.signed_at if signature else shown.created_at,
        )

    def _open(self, connection: sqlite3.Connection, study_id: str) -> None:
        row = connection.execute("SELECT state FROM study WHERE id = ?", (study_id,)).fetchone()
        if row is None:
            raise UnknownStudyError(f"there is no study {study_id!r} here")
        if row["state"] in {"signed", "receiving"}:
            raise ConflictError(f"study {study_id} is {row['state']}: its report cannot be changed")


def document(connection: sqlite3.Connection, study_id: str, version: int, *, signed: bool) -> tuple[str, str]:
    """(SOPInstanceUID, series UID) of the structured report of one text, inside a transaction: drawn once, then kept,
    so that an export sent twice is one object."""
    row = connection.execute(
        "SELECT uid, series_uid FROM document WHERE study = ? AND version = ? AND signed = ?",
        (study_id, version, signed),
    ).fetchone()
    if row is None:
        row = {"uid": _new_uid(), "series_uid": _new_uid()}
        connection.execute(
            "INSERT INTO document VALUES (?, ?, ?, ?, ?)", (study_id, version, signed, row["uid"], row["series_uid"])
        )
    return str(row["uid"]), str(row["series_uid"])


def _new_uid() -> str:
    """A DICOM UID out of a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.UUID(bytes=secrets.token_bytes(16), version=4).int}"


def _newest(connection: sqlite3.Connection, study_id: str) -> Version | None:
    row = connection.execute(
        "SELECT * FROM version WHERE study = ? ORDER BY number DESC LIMIT 1", (study_id,)
    ).fetchone()
    return _version(row) if row else None


def _version(row: sqlite3.Row) -> Version:
    return Version(**{name: row[name] for name in Version.__slots__})


def _signature(row: sqlite3.Row) -> Signature:
    return Signature(**{name: row[name] for name in Signature.__slots__})

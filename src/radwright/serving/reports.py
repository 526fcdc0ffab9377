"""The report of a study: its versions, of which none is ever changed, and the signature that closes it."""

from __future__ import annotations

import secrets
import sqlite3
import uuid

from radwright.serving import audit
from radwright.serving.database import Database, now
from radwright.serving.records import ReadingStudy, ReportedStudy, Signature, Version
from radwright.serving.refusals import ConflictError, UnknownStudyError
from radwright.serving.rows import add_version, row_digest, set_asserted, study_row, version_digest
from radwright.serving.studies import CLOSED, SYSTEM, Studies

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
        """The newest version, an addendum included; None where there is none."""
        return _newest(self.database.connection, study_id)

    def signature(self, study_id: str) -> Signature | None:
        """Who signed the report; None while nobody has."""
        signed = self._signed(study_id)
        return signed[0] if signed else None

    def addenda(self, study_id: str) -> tuple[Signature, ...]:
        """What was added to the signed report, in order."""
        return self._signed(study_id)[1:]

    def _signed(self, study_id: str) -> tuple[Signature, ...]:
        """The signed report, then its addenda."""
        rows = self.database.connection.execute(
            "SELECT signature.*, version.text FROM signature JOIN version ON version.study = signature.study "
            "AND version.number = signature.version WHERE signature.study = ? ORDER BY signature.version",
            (study_id,),
        )
        return tuple(_signature(row) for row in rows)

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
            audit.append(
                connection, author, "edit", study_id, version=number, row=version_digest(connection, study_id, number)
            )
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
                signed=version, signature=_signature_digest(connection, study_id, version),
                observer=observer, organization=organization,
            )  # fmt: skip
        made = self.signature(study_id)
        assert made is not None
        return made

    def add(
        self, study_id: str, text: str, *, based_on: int, observer: str, organization: str = "", actor: str
    ) -> Signature:
        """A signed addendum to a signed report, which itself never changes.

        The same addendum sent again, on top of the same version by the same observer, is the first one.

        Args:
            study_id: which study.
            text: what is added, by itself.
            based_on: the newest version that whoever adds has read: the report's, or the last addendum's.
            observer: the radiologist's name.
            organization: where they work.
            actor: who is signed in.

        Raises:
            UnknownStudyError: no such study.
            ConflictError: unsigned, empty, or not based on the newest version.
        """
        with self.database.transaction() as connection:
            study_row(connection, study_id)
            signed = self._signed(study_id)
            if not signed:
                raise ConflictError(f"study {study_id} is not signed: edit its report instead")
            if not text.strip():
                raise ConflictError("the addendum is empty: write it before signing")
            last = signed[-1]
            if len(signed) > 1 and (last.text, last.observer) == (text, observer) and based_on == signed[-2].version:
                return last
            if based_on != last.version:
                raise ConflictError(
                    f"version {based_on} is not the newest one ({last.version}) of this report: read that one before "
                    "adding to it"
                )
            number = add_version(connection, study_id, text, author=actor, kind="addendum", draft=0, based_on=based_on)
            signed_at = now()
            connection.execute(
                "INSERT INTO signature VALUES (?, ?, ?, ?, ?)", (study_id, number, observer, organization, signed_at)
            )
            connection.execute("UPDATE study SET updated_at = ? WHERE id = ?", (signed_at, study_id))
            document(connection, study_id, number, signed=True)
            audit.append(
                connection, actor, "addendum", study_id,
                version=number, row=version_digest(connection, study_id, number),
                signed=number, signature=_signature_digest(connection, study_id, number),
                observer=observer, organization=organization,
            )  # fmt: skip
        return self._signed(study_id)[-1]

    def reported(self, study_id: str, version: int | None = None) -> ReportedStudy:
        """A study with its report, for an export: the signed text, or the newest draft or edit, unsigned.

        Args:
            study_id: which study.
            version: an unsigned version, or of a signed report its own or an addendum's: what was added later is left
                out then; the newest where none is named.

        Raises:
            UnknownStudyError: no such study or version.
            ConflictError: there is no report yet, or the study was withdrawn.
        """
        study, signed = self.studies.study(study_id), self._signed(study_id)
        if study.state == "withdrawn":
            raise ConflictError(f"study {study_id} was withdrawn: {study.reason}")
        if signed:
            return self._signed_report(study, signed, version)
        found = self.versions(study_id)
        if not found:
            raise ConflictError(f"study {study_id} has no report yet")
        if version is not None and not 1 <= version <= len(found):
            raise UnknownStudyError(f"study {study_id} has no version {version}")
        shown = found[-1 if version is None else version - 1]
        with self.database.transaction() as connection:
            uid, series_uid = document(connection, study_id, shown.number, signed=False)
        return ReportedStudy(
            study=study,
            images=self.studies.images(study_id),
            text=shown.text,
            signature=None,
            draft=self.studies.draft(study_id, shown.draft) if shown.draft else None,
            document_uid=uid,
            series_uid=series_uid,
            written_at=shown.created_at,
        )

    def _signed_report(self, study: ReadingStudy, signed: tuple[Signature, ...], version: int | None) -> ReportedStudy:
        signature = signed[0]
        # A document of a version that was signed holds what was signed until then, however often it is built.
        until = signed if version is None else tuple(each for each in signed if each.version <= version) or signed[:1]
        shown = self.versions(study.id)[signature.version - 1]
        with self.database.transaction() as connection:
            documents = [document(connection, study.id, each.version, signed=True) for each in until]
        return ReportedStudy(
            study=study,
            # What came after the signature the radiologist has not seen: it is no part of what was signed.
            images=self.studies.images(study.id, until=signature.signed_at),
            text=shown.text,
            signature=signature,
            draft=self.studies.draft(study.id, shown.draft) if shown.draft else None,
            document_uid=documents[-1][0],
            series_uid=documents[-1][1],
            written_at=until[-1].signed_at,
            addenda=until[1:],
            predecessor=documents[-2] if len(documents) > 1 else None,
        )

    def _open(self, connection: sqlite3.Connection, study_id: str) -> None:
        row = connection.execute("SELECT state FROM study WHERE id = ?", (study_id,)).fetchone()
        if row is None:
            raise UnknownStudyError(f"there is no study {study_id!r} here")
        if row["state"] in CLOSED:
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
        audit.append(connection, SYSTEM, "document", study_id, report=version, signed=signed, **row)
    return str(row["uid"]), str(row["series_uid"])


def _signature_digest(connection: sqlite3.Connection, study_id: str, version: int) -> str:
    chosen = (study_id, version)
    query = "SELECT * FROM signature WHERE study = ? AND version = ?"
    return row_digest(connection.execute(query, chosen).fetchone())


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
